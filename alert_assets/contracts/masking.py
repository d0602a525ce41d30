"""How values leave the lake: into messages, prompts, check samples, reports. Tables keep what came.

A column's `masking` in its contract names what is taken out of its values: `email`, `ip`, `secret`, or `hash` for the
whole value. Secrets are taken out of every text, whatever its column says: keys and tokens of well-known shapes, what
follows `Authorization:`, `Bearer` or a name like `password=`, passwords in URLs. A name of a host or of an application
is not masked: without it nobody finds what is broken.

It goes by shape, so it errs on the side of hiding: `token: expired` loses its last word, and a version number of four
parts looks like an address. A secret without a shape or a name is not found.

All patterns are linear in the length of the text. Each either begins where the run of characters that it reads begins
(a lookbehind says so), or reads a bounded number of them; no repetition gives back what it took and tries again.
"""

from __future__ import annotations

import re
from hashlib import sha256
from ipaddress import AddressValueError, IPv6Address
from typing import TYPE_CHECKING, Any

from alert_assets.contracts.vocabulary import FREE_TEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from alert_assets.contracts.vocabulary import Masking

#: What stands for a secret.
SECRET = "[secret]"  # noqa: S105

#: Characters of a hash: enough to see that two values are one.
_HASH_LENGTH = 12

_NAME = (
    r"(?:authorization|pass(?:words?|wd|phrase|code)|pwd|secret|token|credentials?|"
    r"(?:api|access|account|secret|private|auth|signing|encryption|master)[ _-]?keys?)"
)
#: In quotes, which stay, also in those of a JSON text inside another one; else up to a blank, `&`, `;` or a quote.
_VALUE = r"""(?:(\\++["'])[^"'\n]*+["']?|(")(?:[^"\\\n]|\\.)*+"?|(')(?:[^'\\\n]|\\.)*+'?|[^\s&;"']++)"""
_IS = r"""\\{0,4}["']?[ \t]{0,4}(?:=>|:=|[=:])[ \t]{0,4}"""

_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY-----(?:[^-]|-(?!----))*+(?:-----END [A-Z0-9 ]{0,30}PRIVATE KEY-----)?"
)
#: Up to the last @ before the host ends. A password with a / in it is no port and what follows.
_URL_PASSWORD = re.compile(
    r"(?<=://)([^\s/?#:@\[\]\"'<>]{0,256}):(?![0-9]{0,5}(?:[/?#\s]|\Z))"
    r"(?:[^\s/?#]{0,4096}@|[^\s@]{0,512}@(?:[^\s/?#]{0,4096}@)?)"
)
_REST = r"""[^\s&;,"']*+"""
_PARAMETERS = rf"""(?:(?<==)"[^"\n]*+"?{_REST})?(?:,[ \t]{{0,4}}[\w-]{{1,40}}=(?:"[^"\n]*+"?)?{_REST})*+"""
_AUTHORIZATION = re.compile(
    rf"""(?i)(authorization{_IS})(?:[a-z][a-z0-9-]{{0,30}}[ \t]{{1,4}})?[^\s&;,"']++{_PARAMETERS}"""
)
_BEARER = re.compile(
    r"(?i)(?<![a-z0-9])(bearer[ \t:=]{1,4})(?!(?:tokens?|authentication|authorization|realm)\b)[a-z0-9._~+/=-]{6,}+"
)
_NAMED = re.compile(rf"(?i)({_NAME}{_IS}){_VALUE}")
_SIGNATURE = re.compile(r"(?i)((?:[?&]|%26|x-amz-)(?:sig|signature)=)[^\s&\"'<>]++")
_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])"
    r"|gh[opsur]_[A-Za-z0-9]{20,}+|github_pat_\w{20,}+|glpat-[\w-]{16,}+"
    r"|sk-[\w-]{16,}+|[prs]k_(?:live|test)_[A-Za-z0-9]{10,}+|whsec_[\w+/=]{16,}+"
    r"|xox[a-z]-[\w-]{8,}+|xapp-[\w-]{10,}+"
    r"|AIza[\w-]{35}|ya29\.[\w-]{16,}+"
    r"|SG\.[\w-]{16,64}\.[\w-]{16,}+|npm_[A-Za-z0-9]{30,}+|pypi-[\w-]{16,}+|hf_[A-Za-z0-9]{20,}+|dop_v1_[a-f0-9]{32,}+"
    r")"
)
#: Header, payload, and a signature unless it is unsigned or cut off.
_JWT = re.compile(r"(?<![\w-])eyJ[\w-]{6,}+\.[\w-]{2,}+(?:\.[\w-]*+){0,3}")
_SLACK_HOOK = re.compile(r"(hooks\.slack\.com/(?:services|workflows|triggers)/)[\w/-]++")

_EMAIL = re.compile(r"(?<![\w.+-])([\w.+-])[\w.+-]*+((?:(?:@|%40)[\w.+-]++)++)")
_IPV4 = re.compile(r"(?<![0-9])(?<![0-9]\.)([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})(?!\.?[0-9])")
_IPV6 = re.compile(r"(?<![0-9A-Fa-f:])[0-9A-Fa-f:]{3,}+(?!\w|\*|\.[0-9])")
_LONGEST_IPV6 = 41
_NETWORK_BITS = 32


def masked(text: str) -> str:
    """Return a free text without secrets, with e-mail addresses as `a***@example.com` and IPs as `10.1.x.x`.

    Masking twice is masking once. Linear in the length of the text.
    """
    return _masked(text, FREE_TEXT)


def without_secrets(text: str) -> str:
    """Return a text without keys, tokens and passwords: what holds for every text that leaves."""
    text = _PRIVATE_KEY.sub(SECRET, text)
    # Not SECRET: brackets in a URL's authority are an IPv6 address to whoever parses it.
    text = _URL_PASSWORD.sub(r"\1:***@", text)
    for pattern in (_AUTHORIZATION, _BEARER, _SIGNATURE, _SLACK_HOOK):
        text = pattern.sub(rf"\g<1>{SECRET}", text)
    text = _NAMED.sub(_named, text)
    for pattern in (_JWT, _KEY):
        text = pattern.sub(SECRET, text)
    # Again: what went may have ended the part of a URL that a password is looked for in.
    return _URL_PASSWORD.sub(r"\1:***@", text)


def masked_labels(labels: Mapping[str, str], *, names: Collection[str | None] = ()) -> dict[str, str]:
    """Return labels with free texts for values; a label that is called like a secret has none.

    Args:
        names: values that name a host, an application or the like, from which only secrets are taken.
    """
    return {masked(name): _label(name, value, names) for name, value in labels.items()}


def mask(column_metadata: Mapping[str, Any], value: Any) -> Any:
    """Return a value as it may leave the lake, by the `masking` in its column's metadata.

    Args:
        column_metadata: of :class:`~alert_assets.contracts.columns.Column`; `masking` is one of MASKINGS or several.
        value: of any type. Texts inside of lists and maps are masked like the value itself; numbers and times are not.
    """
    said = column_metadata.get("masking", ())
    return _valued(value, (said,) if isinstance(said, str) else said)


def _valued(value: Any, maskings: Collection[str]) -> Any:
    if value is not None and "hash" in maskings:
        content = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
        return f"sha256:{sha256(content).hexdigest()[:_HASH_LENGTH]}"
    if isinstance(value, str):
        return _masked(value, maskings)
    if isinstance(value, dict):
        return {
            name: SECRET if _is_secret(name) and inner else _valued(inner, maskings) for name, inner in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_valued(inner, maskings) for inner in value]
    return value


def _masked(text: str, maskings: Collection[str]) -> str:
    text = without_secrets(text)
    for masking, pattern, replace in _BY_SHAPE:
        if masking in maskings:
            text = pattern.sub(replace, text)
    return text


def _label(name: str, value: str, names: Collection[str | None]) -> str:
    if _is_secret(name) and value:
        return SECRET
    return without_secrets(value) if value in names else masked(value)


def _is_secret(name: Any) -> bool:
    return isinstance(name, str) and _NAMED.search(f"{name[-100:].rstrip()}=x") is not None


def _named(found: re.Match[str]) -> str:
    quote = found[2] or found[3] or found[4] or ""
    return f"{found[1]}{quote}{SECRET}{quote}"


def _email(found: re.Match[str]) -> str:
    at = "%40" if found[2].rfind("%40") > found[2].rfind("@") else "@"
    domain = found[2].rpartition(at)[2]
    # `react@18.2.0` is a version.
    is_domain = any(len(label) > 1 and label[0].isalpha() for label in domain.split(".")[1:])
    return f"{found[1]}***{at}{domain}" if is_domain else found[0]


def _ipv4(found: re.Match[str]) -> str:
    is_address = all(int(part) <= 255 for part in found.groups())
    return f"{found[1]}.{found[2]}.x.x" if is_address else found[0]


def _ipv6(found: re.Match[str]) -> str:
    run, before = found[0], found.string[max(found.start() - 1, 0) : found.start()]
    # `addr:2001:db8::1: refused`, but not `Std::Face`.
    head = ":" if run.startswith(":") and not run.startswith("::") else ""
    tail = ":" if run.endswith(":") and not run.endswith("::") else ""
    text = run[len(head) : len(run) - len(tail)]
    if len(text) > _LONGEST_IPV6 or text.count(":") < 2 or (not head and (before.isalnum() or before == "_")):
        return run
    try:
        address = int(IPv6Address(text))
    except AddressValueError:
        return run
    if address <= 1:  # `::` and `::1`, which are everybody's
        return run
    shift = 128 - _NETWORK_BITS
    return f"{head}{IPv6Address(address >> shift << shift)}x{tail}"


_BY_SHAPE: tuple[tuple[Masking, re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    ("ip", _IPV4, _ipv4),
    ("ip", _IPV6, _ipv6),
    ("email", _EMAIL, _email),
)
