"""Whether a name in a request leads to this machine by itself, or because somebody's DNS says so.

A page that the browser has from `rebound.example` can reach a server on loopback once that name resolves to 127.0.0.1;
the request still says `Host: rebound.example`. A page from elsewhere can post to `http://127.0.0.1` directly, without
reading the answer; the request then says `Origin: https://elsewhere.example`.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

_NAMES = frozenset({"localhost", "localhost."})


def is_local(authority: str, url: str = "") -> bool:
    """Tell whether `host:port` is this machine by its name or address.

    Args:
        authority: as the header `Host` has it.
        url: where people reach this server, if something says so; its host is as good as a local one.
    """
    try:
        host = urlsplit(f"//{authority}").hostname or ""
        return (
            host in _NAMES or (host != "" and host == urlsplit(url).hostname) or ipaddress.ip_address(host).is_loopback
        )
    except ValueError:
        return False
