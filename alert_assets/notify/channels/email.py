"""E-mail over SMTP with STARTTLS: plain text and HTML, threaded by episode.

The Message-ID comes from the message's key: a repeat has the same one, which mail systems drop and people can
recognise. All of an episode refers to one made-up root, so that mail programs show it as one conversation.
Certificates are verified, and a password is only ever sent over TLS. The relay is usually a private host, and no
address but the configured one is connected to, so the rules for webhooks' targets do not apply to it.
"""

from __future__ import annotations

import smtplib
import ssl
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from dataclasses import dataclass, field
from email.errors import HeaderParseError, MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from hashlib import sha256
from html import escape
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import NoDecode

from alert_assets.kernel.clock import utc_now
from alert_assets.kernel.deadline import within
from alert_assets.kernel.text import one_line
from alert_assets.notify.channels import wording
from alert_assets.notify.channels.channel import Action, ChannelError, Delivered, Message
from alert_assets.notify.channels.settings import ChannelSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from typing import Self

    from alert_assets.notify.alert import Severity
    from alert_assets.notify.channels.http import Http

#: Port on which TLS comes first, RFC 8314.
_IMPLICIT_TLS_PORT = 465
_MAX_SUBJECT = 200
_COLORS: dict[Severity, str] = {
    "CRITICAL": "#b3261e",
    "HIGH": "#c75b12",
    "MEDIUM": "#9a7b00",
    "LOW": "#2563a8",
    "INFO": "#666666",
}


def _split(value: object) -> object:
    return tuple(filter(None, (part.strip() for part in value.split(",")))) if isinstance(value, str) else value


def _is_address(value: str) -> str:
    if parse_address(value) is None:
        raise ValueError(f"{value!r} is not an e-mail address")
    return value


MailAddress = Annotated[str, AfterValidator(_is_address)]


class EmailSettings(ChannelSettings, env_prefix="ALERTS_SMTP_"):
    """The relay, and the addresses."""

    channel_name: ClassVar[str] = "email"
    host: str = Field(description="The relay.")
    sender: MailAddress = Field(validation_alias="ALERTS_SMTP_FROM", description="Address in From.")
    to: Annotated[tuple[MailAddress, ...], NoDecode, BeforeValidator(_split)] = Field(
        min_length=1, description="Default recipients, separated by commas."
    )
    port: int = Field(587, ge=1, le=65_535, description="Of the relay; 465 is implicit TLS.")
    user: str = Field("", description="Login, for a relay that asks for one.")
    password: SecretStr = Field(SecretStr(""), description="Its password.")
    starttls: bool = Field(True, description="false only for a relay without TLS and without a login.")

    @model_validator(mode="after")
    def _login(self) -> Self:
        login = {"user", "password"} & self.model_fields_set
        if len(login) == 1:
            raise ValueError(self.missing({"user", "password"} - login))
        if login and not self.starttls and self.port != _IMPLICIT_TLS_PORT:
            rule = "has to be true where there is a password: it is not sent in the clear"
            raise ValueError(f"{self.variable('starttls')}: {rule}")
        return self

    def build(self, http: Http) -> Email:
        """Build the channel."""
        password = self.password.get_secret_value()
        return Email(
            self.host, self.sender, self.to, self.port, user=self.user, password=password, starttls=self.starttls
        )


@dataclass(frozen=True)
class Email:
    """Sends mail through a relay.

    Attributes:
        timeout_seconds: longest wait for one reply.
        session_seconds: deadline of the whole session, name resolution included.
        tls: what its certificate is verified against: the system's authorities, or those of SSL_CERT_FILE. Not
            shared with HTTP, whose library writes its protocol into it.
        clock: when it is sent.
    """

    host: str
    sender: str
    to: tuple[str, ...] = ()
    port: int = 587
    user: str = ""
    password: str = field(default="", repr=False)
    starttls: bool = True
    timeout_seconds: float = 10.0
    session_seconds: float = 20.0
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context, repr=False)
    clock: Callable[[], datetime] = field(default=utc_now, repr=False)
    name: str = "email"

    @property
    def defaults(self) -> tuple[str, ...]:
        """The addresses that are set."""
        return self.to

    def send(self, message: Message) -> Delivered:
        """Hand it to the relay; the reference of an opening is its Message-ID."""
        recipients = tuple(dict.fromkeys(message.recipients or self.to))
        mail = self.mail(message, recipients)
        refused = self._hand_over(mail, recipients)
        detail = "refused for " + ", ".join(refused) if refused else ""
        return Delivered(reference=message.reference or mail["Message-ID"], detail=detail)

    def _hand_over(self, mail: EmailMessage, recipients: tuple[str, ...]) -> dict[str, tuple[int, bytes]]:
        """Transmit it, and return the recipients that were refused for good while others were not.

        Raises:
            ChannelError: it was not sent, or has to be sent again.
        """
        problem: ChannelError | None = None
        refused: dict[str, tuple[int, bytes]] = {}
        try:
            refused = self._transmit_in_time(mail, recipients)
        except (smtplib.SMTPException, OSError, ValueError, FutureTimeoutError) as error:
            problem = self._problem(error)
        if problem is None:
            problem = self._postponed(refused)
        if problem is not None:
            # Outside the handler: the library's exceptions hold what was sent.
            raise problem
        return refused

    def mail(self, message: Message, recipients: tuple[str, ...]) -> EmailMessage:
        """The mail as it is sent.

        Raises:
            ChannelError: an address is none, or there is no recipient.
        """
        root, own = self._message_id(f"episode\x1f{message.episode}"), self._message_id(f"key\x1f{message.key}")
        mail = EmailMessage(policy=SMTP)
        mail["From"] = self._address(self.sender)
        mail["To"] = [self._address(recipient) for recipient in recipients]
        alert = message.alert
        mail["Subject"] = one_line(alert.title, _MAX_SUBJECT) if alert.body else wording.headline(message, _MAX_SUBJECT)
        mail["Date"] = format_datetime(self.clock())
        mail["Message-ID"] = own
        if message.action is not Action.OPEN:
            mail["In-Reply-To"] = _a_message_id(message.reference) or root
        mail["References"] = root
        mail["Auto-Submitted"] = "auto-generated"
        if alert.severity == "CRITICAL":
            mail["Importance"] = "high"
        mail.set_content(alert.description if alert.body else wording.plain_text(message, 20_000))
        mail.add_alternative(alert.body or html(message), subtype="html")
        for name, page in alert.attached.items():
            mail.add_attachment(page, subtype="html", filename=name)
        if not recipients:
            raise ChannelError(f"{self.name}: no recipient; routing and ALERTS_SMTP_TO name none", permanent=True)
        return mail

    def _transmit_in_time(self, mail: EmailMessage, recipients: tuple[str, ...]) -> dict[str, tuple[int, bytes]]:
        """Transmit it within a deadline: smtplib bounds each wait, but not a relay that answers a byte at a time."""
        return within(self.session_seconds, lambda: self._transmit(mail, recipients), "smtp")

    def _transmit(self, mail: EmailMessage, recipients: tuple[str, ...]) -> dict[str, tuple[int, bytes]]:
        """Send it and return the recipients that were refused while others were not."""
        relay = self._connect()
        try:
            if self.starttls and self.port != _IMPLICIT_TLS_PORT:
                relay.starttls(context=self.tls)
            if self.user:
                relay.login(self.user, self.password)
            refused = relay.send_message(mail, to_addrs=recipients)
            # The relay has it: a failed goodbye must not make it a failure.
            with suppress(smtplib.SMTPException, OSError):
                relay.quit()
            return refused
        finally:
            relay.close()

    def _connect(self) -> smtplib.SMTP:
        if self.port == _IMPLICIT_TLS_PORT:
            return smtplib.SMTP_SSL(self.host, self.port, timeout=self.timeout_seconds, context=self.tls)
        return smtplib.SMTP(self.host, self.port, timeout=self.timeout_seconds)

    def _problem(self, error: Exception) -> ChannelError:
        """What an exception means; of its text only the code is used, the rest may quote what was sent."""
        reason, permanent = _meaning(error)
        of_recipient = isinstance(error, smtplib.SMTPRecipientsRefused)
        return ChannelError(f"{self.name}: {self.host}: {reason}", permanent=permanent, of_recipient=of_recipient)

    def _postponed(self, refused: dict[str, tuple[int, bytes]]) -> ChannelError | None:
        later = [address for address, (code, _) in refused.items() if code < 500]
        if not later:
            return None
        return ChannelError(f"{self.name}: {self.host}: put off {', '.join(later)}", permanent=False, of_recipient=True)

    def _message_id(self, text: str) -> str:
        digest = sha256(text.encode("utf-8", "replace")).hexdigest()[:32]
        return f"<{digest}@{self._address(self.sender).domain}>"

    def _address(self, text: str) -> Address:
        address = parse_address(text)
        if address is None:
            shown = one_line(text, 80)
            raise ChannelError(f"{self.name}: {shown!r} is not an e-mail address", permanent=True)
        return address


def parse_address(text: str) -> Address | None:
    """An address of the form `name@domain`; None if it is none."""
    if not text.isprintable() or text != text.strip() or any(part in text for part in ',;<>" '):
        return None
    try:
        address = Address(addr_spec=text)
    except (HeaderParseError, MessageError, ValueError, IndexError):
        return None
    return address if address.username and address.domain else None


def html(message: Message) -> str:
    """The message for mail programs: no scripts, no images, nothing that is loaded."""
    alert = wording.presented(message)
    color = "#2e7d32" if message.action is Action.RESOLVE else _COLORS[alert.severity]
    rows = "".join(
        f'<tr><td style="padding:2px 12px 2px 0;color:#666"><b>{escape(label)}</b></td><td>{escape(value)}</td></tr>'
        for label, value in wording.facts(alert)
    )
    links = " · ".join(f'<a href="{escape(url)}">{escape(text)}</a>' for text, url in wording.links(alert))
    parts = [
        f'<h2 style="color:{color}">{escape(wording.headline(message, _MAX_SUBJECT))}</h2>',
        _paragraph("", wording.prose(alert.description, 8_000)),
        _paragraph("Message", wording.own_message(alert, 4_000)),
        f"<table>{rows}</table>",
        _paragraph("Suggested action", wording.prose(alert.suggested_action, 2_000)),
        f"<p>{links}</p>" if links else "",
        _paragraph("Error", wording.prose(alert.error, 2_000)),
        _preformatted(wording.last_lines(alert.stack_trace, 8_000)),
    ]
    body = "\n".join(part for part in parts if part)
    return f'<!doctype html><html><body style="font-family:sans-serif">\n{body}\n</body></html>\n'


def _paragraph(label: str, text: str) -> str:
    if not text:
        return ""
    heading = f"<b>{escape(label)}</b><br>" if label else ""
    return f"<p>{heading}{escape(text).replace(chr(10), '<br>')}</p>"


def _preformatted(text: str) -> str:
    return f'<pre style="background:#f4f4f4;padding:8px">{escape(text)}</pre>' if text else ""


def _a_message_id(reference: str | None) -> str | None:
    shaped = reference and reference.isprintable() and " " not in reference and reference[0] + reference[-1] == "<>"
    return reference if shaped else None


def _meaning(error: Exception) -> tuple[str, bool]:
    """The reason in words, and whether it is permanent."""
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return "offers no STARTTLS, or no login this channel can make; see ALERTS_SMTP_STARTTLS", True
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = [code for code, _ in error.recipients.values()]
        return f"refused every recipient ({min(codes)})", all(code >= 500 for code in codes)
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return f"refused the login ({error.smtp_code})", error.smtp_code >= 500
    if isinstance(error, smtplib.SMTPResponseException):
        return f"answered {error.smtp_code}", error.smtp_code >= 500
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not to be trusted ({error.verify_message})", False
    if isinstance(error, (TimeoutError, FutureTimeoutError)):
        return "no answer in time", False
    if isinstance(error, (smtplib.SMTPServerDisconnected, OSError)):
        return f"the connection failed ({type(error).__name__})", False
    return f"the mail cannot be sent ({type(error).__name__})", True
