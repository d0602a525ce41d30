"""Amazon SNS: whether a message is signed by it, and confirming a subscription.

A message names the URL of the certificate that signed it, so whoever forges one also forges that: only SNS's own hosts
are asked, over TLS. Replays are harmless, for a message's id is the identity of its event; and SNS itself repeats a
message for hours.
https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
"""

from __future__ import annotations

import base64
import binascii
import re
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from alert_assets.intake.auth import RefusedError
from alert_assets.intake.body import BodyError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

_HOST = r"sns\.[a-z]{2}(-[a-z]+)+-\d{1,2}\.amazonaws\.com(\.cn)?"
_CERTIFICATE = re.compile(rf"https://{_HOST}/SimpleNotificationService-[0-9A-Za-z]{{8,64}}\.pem")
_SUBSCRIBE = re.compile(rf"https://{_HOST}/\?[\x21-\x7e]+")

_SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
_SIGNED["UnsubscribeConfirmation"] = _SIGNED["SubscriptionConfirmation"]

_TIMEOUT_SECONDS = 5
_MAX_KEYS = 64


def fetch(url: str) -> bytes:
    """Get a document; redirects are not followed.

    Raises:
        httpx.HTTPError: it cannot be had.
    """
    import httpx

    answer = httpx.get(url, timeout=_TIMEOUT_SECONDS, follow_redirects=False)
    answer.raise_for_status()
    return answer.content


class Sns:
    """Checks messages of the topics that may send.

    Args:
        topics: their ARNs; one that ends with `*` is a prefix.
        get: fetches a certificate, and confirms a subscription.
    """

    def __init__(self, topics: Sequence[str], get: Callable[[str], bytes] = fetch) -> None:
        self._topics, self._get = topics, get
        self._keys: dict[str, RSAPublicKey] = {}
        self._lock = threading.Lock()

    def check(self, message: Mapping[str, Any]) -> None:
        """Check topic and signature; confirm a subscription.

        Raises:
            RefusedError: 403, it is not from SNS, or not from a topic that may send.
            BodyError: 503, the certificate cannot be had, or the subscription not confirmed, now.
        """
        topic = str(message.get("TopicArn"))
        if not any(topic.startswith(each[:-1]) if each.endswith("*") else topic == each for each in self._topics):
            raise RefusedError(403, "The topic is none of ALERTS_INTAKE_SNS_TOPICS")
        self._check_signature(message)
        if message["Type"] == "SubscriptionConfirmation":
            url = str(message["SubscribeURL"])
            if not _SUBSCRIBE.fullmatch(url) or urlsplit(url).username is not None:
                raise RefusedError(403, "SubscribeURL is no URL of SNS")
            self._fetch(url)

    def _check_signature(self, message: Mapping[str, Any]) -> None:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

        names = _SIGNED.get(str(message.get("Type")))
        algorithm = {"1": hashes.SHA1, "2": hashes.SHA256}.get(str(message.get("SignatureVersion")))
        if names is None or algorithm is None:
            raise RefusedError(403, "Type or SignatureVersion is none that SNS has")
        signed = "".join(f"{name}\n{message[name]}\n" for name in names if message.get(name) is not None)
        try:
            signature = base64.b64decode(str(message.get("Signature")), validate=True)
            self._key(str(message.get("SigningCertURL"))).verify(
                signature, signed.encode("utf-8", "surrogatepass"), PKCS1v15(), algorithm()
            )
        except (InvalidSignature, binascii.Error):
            raise RefusedError(403, "The signature is wrong") from None

    def _key(self, url: str) -> RSAPublicKey:
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

        if not _CERTIFICATE.fullmatch(url):
            raise RefusedError(403, "SigningCertURL is no URL of SNS")
        with self._lock:
            if key := self._keys.get(url):
                return key
        try:
            found = x509.load_pem_x509_certificate(self._fetch(url)).public_key()
        except ValueError:
            raise BodyError(503, "The certificate of SNS cannot be read") from None
        if not isinstance(found, RSAPublicKey):
            raise RefusedError(403, "The certificate holds no RSA key")
        with self._lock:
            if len(self._keys) >= _MAX_KEYS:
                self._keys.clear()
            self._keys[url] = found
        return found

    def _fetch(self, url: str) -> bytes:
        import httpx

        try:
            return self._get(url)
        except httpx.HTTPError:
            raise BodyError(503, "SNS cannot be reached to verify the message") from None
