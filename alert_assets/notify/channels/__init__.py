"""The ways to reach people, and those of them that the environment configures.

A module per service, all with the protocol of :mod:`.channel`. Secrets are read from the environment here, once,
and are held in fields that no `repr` shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from alert_assets.errors import UserError
from alert_assets.notify.channels.channel import Action, Channel, ChannelError, Delivered, Message
from alert_assets.settings import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from alert_assets.notify.channels.http import Http

__all__ = ["VARIABLES", "Action", "Channel", "ChannelError", "Delivered", "Message", "channels"]

#: What configures each channel: the variables without which it is not whole, and the others. A channel is wanted
#: when any of its variables is set. Slack is whole with a webhook or with a token.
VARIABLES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "slack": ((), ("SLACK_WEBHOOK_URL", "SLACK_TOKEN", "SLACK_CHANNEL", "SLACK_URL")),
    "pagerduty": (("PAGERDUTY_ROUTING_KEY",), ("PAGERDUTY_URL",)),
    "servicenow": (
        ("SERVICENOW_URL", "SERVICENOW_USER", "SERVICENOW_PASSWORD"),
        ("SERVICENOW_ASSIGNMENT_GROUP", "SERVICENOW_CLOSE_CODE"),
    ),
    "email": (
        ("SMTP_HOST", "SMTP_FROM", "SMTP_TO"),
        ("SMTP_PORT", "SMTP_USER", "SMTP_PASSWORD", "SMTP_STARTTLS"),
    ),
    "teams": (("TEAMS_WEBHOOK_URL",), ()),
    "webhook": (("WEBHOOK_URL", "WEBHOOK_SECRET"), ()),
}
ALLOWED_HOSTS = "ALLOWED_HOSTS"


def channels(environ: Mapping[str, str]) -> dict[str, Channel]:
    """The channels that are configured, by name; `log` always is.

    Args:
        environ: `ALERTS_*` variables and others. A variable that is empty is not set.

    Raises:
        UserError: one message for every variable that is missing or wrong. Values of secrets are not shown.
    """
    return _Reader({name: value.strip() for name, value in environ.items() if value.strip()}).channels()


class _Reader:
    """Reads variables and gathers what is wrong with them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._problems: list[str] = []

    def channels(self) -> dict[str, Channel]:
        from alert_assets.notify.channels.log import Log

        found: dict[str, Channel] = {"log": Log()}
        wanted = [name for name, (needed, others) in VARIABLES.items() if any(map(self._get, (*needed, *others)))]
        if wanted:
            http = self._http()
            made = [self._channel(name, http) for name in wanted]
            found.update({channel.name: channel for channel in made if channel is not None})
        if self._problems:
            listed = "\n".join(f"  {problem}" for problem in self._problems)
            raise UserError(
                f"The alert channels cannot be used:\n{listed}\nSet them in the environment or in .env and try again."
            )
        return found

    def _channel(self, name: str, http: Http) -> Channel | None:
        before = len(self._problems)
        self._need(name, VARIABLES[name][0])
        read = {
            "slack": self._slack,
            "pagerduty": self._pagerduty,
            "servicenow": self._servicenow,
            "email": self._email,
            "teams": self._teams,
            "webhook": self._webhook,
        }[name]
        channel = read(http)
        return channel if len(self._problems) == before else None

    def _slack(self, http: Http) -> Channel:
        from alert_assets.notify.channels import slack

        if self._get("SLACK_WEBHOOK_URL"):
            for name in ("SLACK_TOKEN", "SLACK_CHANNEL", "SLACK_URL"):
                if self._get(name):
                    self._wrong(name, f"has no use beside {PREFIX}SLACK_WEBHOOK_URL; keep one way to reach Slack")
            return slack.SlackWebhook(self._url("SLACK_WEBHOOK_URL"), http)
        self._need("slack", ("SLACK_TOKEN", "SLACK_CHANNEL"))
        token, channel = self._token("SLACK_TOKEN"), self._get("SLACK_CHANNEL")
        return slack.SlackBot(token, channel, http, self._url("SLACK_URL", slack.DEFAULT_URL))

    def _pagerduty(self, http: Http) -> Channel:
        from alert_assets.notify.channels import pagerduty

        key = self._token("PAGERDUTY_ROUTING_KEY")
        return pagerduty.PagerDuty(key, http, self._url("PAGERDUTY_URL", pagerduty.DEFAULT_URL))

    def _servicenow(self, http: Http) -> Channel:
        from alert_assets.notify.channels.servicenow import ServiceNow

        code = self._get("SERVICENOW_CLOSE_CODE")
        return ServiceNow(
            self._url("SERVICENOW_URL"),
            self._get("SERVICENOW_USER"),
            self._get("SERVICENOW_PASSWORD"),
            http,
            self._get("SERVICENOW_ASSIGNMENT_GROUP"),
            **({"close_code": code} if code else {}),
        )

    def _email(self, _: Http) -> Channel:
        from alert_assets.notify.channels.email import Email

        starttls = self._flag("SMTP_STARTTLS", default=True)
        user, password = self._get("SMTP_USER"), self._get("SMTP_PASSWORD")
        if bool(user) != bool(password):
            self._need("email", ("SMTP_USER", "SMTP_PASSWORD"))
        port = self._port("SMTP_PORT", 587)
        if user and not starttls and port != 465:
            self._wrong("SMTP_STARTTLS", "has to be true where there is a password: it is not sent in the clear")
        sender, to = self._get("SMTP_FROM"), self._list("SMTP_TO")
        self._addresses("SMTP_FROM", [sender] if sender else [])
        self._addresses("SMTP_TO", to)
        host = self._get("SMTP_HOST")
        return Email(host, sender, to, port, user=user, password=password, starttls=starttls)

    def _teams(self, http: Http) -> Channel:
        from alert_assets.notify.channels.teams import Teams

        return Teams(self._url("TEAMS_WEBHOOK_URL"), http)

    def _webhook(self, http: Http) -> Channel:
        from alert_assets.notify.channels.webhook import Webhook

        return Webhook(self._url("WEBHOOK_URL"), self._get("WEBHOOK_SECRET"), http)

    def _http(self) -> Http:
        from alert_assets.notify.channels.http import Http
        from alert_assets.notify.channels.targets import Targets

        try:
            return Http(Targets.parse(self._get(ALLOWED_HOSTS)))
        except ValueError as error:
            self._wrong(ALLOWED_HOSTS, f"{error}; a comma-separated list is wanted, e.g. relay.internal,10.1.0.0/16")
            return Http()

    def _get(self, name: str) -> str:
        return self._environ.get(f"{PREFIX}{name}", "")

    def _list(self, name: str) -> tuple[str, ...]:
        return tuple(filter(None, (part.strip() for part in self._get(name).split(","))))

    def _need(self, channel: str, names: Iterable[str]) -> None:
        for name in names:
            if not self._get(name):
                self._problems.append(f"{PREFIX}{name} is not set: {channel} needs it")

    def _wrong(self, name: str, rule: str) -> None:
        self._problems.append(f"{PREFIX}{name}: {rule}")

    def _url(self, name: str, default: str = "") -> str:
        from alert_assets.notify.channels.http import url_problem

        url = self._get(name) or default
        problem = url_problem(url) if url else None
        if problem:
            self._wrong(name, f"the URL {problem}")
        return url

    def _token(self, name: str) -> str:
        token = self._get(name)
        if not (token.isascii() and token.isprintable() and " " not in token):
            self._wrong(name, "has characters that no key has; copy it again")
        return token

    def _port(self, name: str, default: int) -> int:
        text = self._get(name) or str(default)
        if text.isascii() and text.isdigit() and 0 < int(text[:9]) < 65_536:
            return int(text)
        self._wrong(name, f"{text!r} is not a port, 1 to 65535")
        return default

    def _flag(self, name: str, *, default: bool) -> bool:
        text = self._get(name).lower()
        known = {"": default, "true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if text not in known:
            self._wrong(name, f"{text!r} is not true or false")
        return known.get(text, default)

    def _addresses(self, name: str, addresses: Iterable[str]) -> None:
        from alert_assets.notify.channels.email import parse_address

        for address in addresses:
            if parse_address(address) is None:
                self._wrong(name, f"{address!r} is not an e-mail address")
