"""Messages of SNS: signed ones pass, forged ones and strange certificates do not."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from alert_assets.intake.auth import RefusedError
from alert_assets.intake.body import BodyError
from alert_assets.intake.server import Intake
from alert_assets.intake.settings import IntakeSettings
from alert_assets.intake.sns import Sns
from alert_assets_tests.intake.site import landed_lines

TOPIC = "arn:aws:sns:eu-west-1:123456789012:alarms"
URL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"
_KEY = rsa.generate_private_key(65537, 2048)


def _certificate():
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, _KEY.public_key(), 1, now, now + timedelta(days=1))
    return builder.sign(_KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


PEM = _certificate()


class Amazon:
    """What is fetched from SNS."""

    def __init__(self):
        self.asked = []

    def __call__(self, url):
        self.asked.append(url)
        return PEM


def signed(version="2", **fields):
    message = {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Message": json.dumps({"AlarmName": "a", "NewStateValue": "OK"}),
        "Timestamp": "2026-02-14T10:06:42.290Z",
        "SignatureVersion": version,
        "SigningCertURL": URL,
        **fields,
    }
    names = sorted({"Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"})
    text = "".join(f"{name}\n{message[name]}\n" for name in names if name in message)
    algorithm = hashes.SHA1() if version == "1" else hashes.SHA256()
    signature = _KEY.sign(text.encode(), padding.PKCS1v15(), algorithm)
    return {**message, "Signature": base64.b64encode(signature).decode()}


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("fields", [{}, {"Subject": "ALARM: ä"}])
def test_a_signed_message_passes_and_the_certificate_is_fetched_once(version, fields):
    amazon = Amazon()
    sns = Sns((TOPIC,), amazon)
    sns.check(signed(version, **fields))
    sns.check(signed(version, **fields))
    assert amazon.asked == [URL]


def test_a_subscription_of_an_allowed_topic_is_confirmed():
    amazon = Amazon()
    confirm = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=a&Token=b"
    Sns(("arn:aws:sns:eu-west-1:123456789012:*",), amazon).check(
        signed(Type="SubscriptionConfirmation", Token="b", SubscribeURL=confirm)
    )
    assert amazon.asked == [URL, confirm]


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/SimpleNotificationService-0123456789abcdef.pem",
        "https://sns.eu-west-1.amazonaws.com.evil.example/SimpleNotificationService-0123456789abcdef.pem",
        "https://sns.eu-west-1.amazonaws.com@evil.example/SimpleNotificationService-0123456789abcdef.pem",
        "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem",
        "https://sns.eu-west-1.amazonaws.com:444/SimpleNotificationService-0123456789abcdef.pem",
        "https://sns.eu-west-1.amazonaws.com/other/../SimpleNotificationService-0123456789abcdef.pem",
        "https://sns.eu-west-1.amazonaws.com/?Action=GetTopic#/SimpleNotificationService-0123456789abcdef.pem",
        f"{URL}\n",
        "file:///etc/passwd",
        "",
    ],
)
def test_only_hosts_of_sns_are_asked_for_a_certificate(url):
    amazon = Amazon()
    with pytest.raises(RefusedError) as refusal:
        Sns((TOPIC,), amazon).check(signed(SigningCertURL=url))
    assert (refusal.value.status, amazon.asked) == (403, [])


@pytest.mark.parametrize(
    "change",
    [
        {"Message": "{}"},
        {"MessageId": "1"},
        {"Subject": "added"},
        {"Signature": ""},
        {"Signature": "%%%"},
        {"SignatureVersion": "1"},
        {"SignatureVersion": "3"},
        {"Type": "Other"},
        {"TopicArn": "arn:aws:sns:eu-west-1:210987654321:alarms"},
        {"TopicArn": f"{TOPIC}-of-others"},
    ],
)
def test_a_changed_message_is_refused(change):
    with pytest.raises(RefusedError) as refusal:
        Sns((TOPIC,), Amazon()).check({**signed(), **change})
    assert refusal.value.status == 403


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/?a",
        "https://sns.eu-west-1.amazonaws.com.evil.example/?Action=ConfirmSubscription",
        "https://sns.eu-west-1.amazonaws.com@evil.example/?Action=ConfirmSubscription",
        "https://evil.example/?https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription",
        "http://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription",
        "https://169.254.169.254/?Action=ConfirmSubscription",
        "https://sns.eu-west-1.amazonaws.com/other?Action=ConfirmSubscription",
        "https://sns.eu-west-1.amazonaws.com/?Action=Confirm Subscription",
    ],
)
def test_a_subscription_is_not_confirmed_elsewhere(url):
    amazon = Amazon()
    with pytest.raises(RefusedError, match="SubscribeURL"):
        Sns((TOPIC,), amazon).check(signed(Type="SubscriptionConfirmation", Token="b", SubscribeURL=url))
    assert amazon.asked == [URL]


CONFIRM = f"https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f"

#: What is signed, as Amazon's documentation spells it: these lines alone, in this order, each ended.
SPELLED = {
    "Notification": "Message\nHello world!\nMessageId\n22b8\nTimestamp\n2012-05-02T00:54:06.655Z\n"
    f"TopicArn\n{TOPIC}\nType\nNotification\n",
    "Notification with a subject": "Message\nHello world!\nMessageId\n22b8\nSubject\nMy First Message\n"
    f"Timestamp\n2012-05-02T00:54:06.655Z\nTopicArn\n{TOPIC}\nType\nNotification\n",
    "SubscriptionConfirmation": "Message\nHello world!\nMessageId\n22b8\n"
    f"SubscribeURL\n{CONFIRM}\nTimestamp\n2012-05-02T00:54:06.655Z\nToken\n2336412f\n"
    f"TopicArn\n{TOPIC}\nType\nSubscriptionConfirmation\n",
    "UnsubscribeConfirmation": "Message\nHello world!\nMessageId\n22b8\n"
    f"SubscribeURL\n{CONFIRM}\nTimestamp\n2012-05-02T00:54:06.655Z\nToken\n2336412f\n"
    f"TopicArn\n{TOPIC}\nType\nUnsubscribeConfirmation\n",
}


def spelled(case, version):
    """A message in the order of the documentation's examples, signed over the text above."""
    kind = case.split()[0]
    confirmation = {"Token": "2336412f", "SubscribeURL": CONFIRM} if kind != "Notification" else {}
    algorithm = hashes.SHA1() if version == "1" else hashes.SHA256()
    signature = _KEY.sign(SPELLED[case].encode(), padding.PKCS1v15(), algorithm)
    return {
        "Type": kind,
        "MessageId": "22b8",
        **confirmation,
        "TopicArn": TOPIC,
        **({"Subject": "My First Message"} if case != kind else {}),
        "Message": "Hello world!",
        "Timestamp": "2012-05-02T00:54:06.655Z",
        "SignatureVersion": version,
        "Signature": base64.b64encode(signature).decode(),
        "SigningCertURL": URL,
        "UnsubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe",
        "MessageAttributes": {"a": {"Type": "String", "Value": "b"}},
    }


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("case", SPELLED)
def test_what_is_signed_is_what_the_documentation_spells(case, version):
    amazon = Amazon()
    Sns((TOPIC,), amazon).check(spelled(case, version))
    # Ending a subscription is not undone.
    assert amazon.asked == [URL, *([CONFIRM] if case == "SubscriptionConfirmation" else [])]


async def test_a_topic_is_subscribed_speaks_and_is_unsubscribed(settings):
    """As SNS posts it: plain text, and its type in a header too."""
    amazon = Amazon()
    topics = IntakeSettings(_env_file=None, intake_sns_topics=TOPIC, intake_roll_seconds=0)
    intake = Intake(settings, topics)
    intake._sns = Sns(topics.intake_sns_topics, amazon)
    alarm = {"AlarmName": "checkout-5xx", "NewStateValue": "ALARM", "StateChangeTime": "2026-02-14T10:06:42.236+0000"}
    confirmation = {"Token": "b", "SubscribeURL": CONFIRM}
    posted = [
        ({"Type": "SubscriptionConfirmation", **confirmation}, {}, 202, 0),
        ({"Message": json.dumps(alarm), "Subject": "ALARM"}, {}, 202, 1),
        ({"Message": json.dumps(alarm)}, {"Message": json.dumps({**alarm, "NewStateValue": "OK"})}, 403, 0),
        ({"Message": json.dumps(alarm), "SigningCertURL": "https://evil.example/a.pem"}, {}, 403, 0),
        ({"Type": "UnsubscribeConfirmation", **confirmation}, {}, 202, 0),
    ]
    transport = httpx.ASGITransport(intake.app())
    async with (
        httpx.AsyncClient(transport=transport, base_url="https://alerts.example.com") as client,
        intake.lifespan(intake.app()),
    ):
        for fields, changed, status, accepted in posted:
            message = {**signed(**fields), **changed}
            headers = {"Content-Type": "text/plain; charset=UTF-8", "x-amz-sns-message-type": message["Type"]}
            answer = await client.post("/intake/cloudwatch", content=json.dumps(message), headers=headers)
            assert (answer.status_code, answer.json().get("accepted", 0)) == (status, accepted)
    [event] = map(json.loads, landed_lines(settings.data_dir / "landing"))
    assert (event["alert_type"], event["status"]) == ("checkout-5xx", "firing")
    assert amazon.asked == [URL, CONFIRM]


def test_sns_that_cannot_be_reached_is_asked_again_later():
    def unreachable(url):
        raise httpx.ConnectError("no route")

    with pytest.raises(BodyError) as refusal:
        Sns((TOPIC,), unreachable).check(signed())
    assert refusal.value.status == 503
