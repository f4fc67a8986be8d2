"""Decide which URLs of a registry are used, which host they reach, and which redirects are followed.

A realm, a ``Location`` and a ``Link`` are text from the registry. Parsers disagree about malformed URLs: for
``https://a\\@b/`` `urllib.parse.urlsplit` returns host ``b`` (RFC 3986, section 3.2, allows no backslash), but urllib3,
which sends the request, connects to ``a`` (urllib3 2.8, ``util/url.py``, ``_URI_RE``). So such URLs are refused, and the
host of all others is read from the URL that requests sends.
"""

import re
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.util import parse_url

from hpcdeploy.registry.reference import is_loopback

ODD = "a backslash, a blank, a control or non-ASCII character, a user name, or a host in percent encoding"
"""What `is_plain` refuses, for messages."""

NOWHERE = ("", "", 0)
"""The origin of a text that is not a URL of http or https."""

_PLAIN = re.compile(r"[!-\[\]-~]*")
_AUTHORITY = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//([^/?#]*)")
_DEFAULT_PORTS = {"https": 443, "http": 80}


def is_plain(url: str) -> bool:
    """Tell whether all parsers read a URL, absolute or relative, in the same way.

    It must be printable ASCII without a backslash (RFC 3986, section 2, allows even fewer characters). A user name before
    the host (section 3.2.1) is not allowed, nor is percent encoding in the host, which some parsers decode.
    """
    authority = _AUTHORITY.match(url)
    return _PLAIN.fullmatch(url) is not None and not (authority and re.search("[@%]", authority[1]))


def origin_of(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port to which a request for `url` is sent, and to which credentials belong.

    The host is in lower case, an IPv6 address in brackets. It is read from the URL that requests prepares, by urllib3 and by
    `urlsplit` (requests 2.34 uses both). The result is `NOWHERE` if they differ, or if `url` is malformed or not `is_plain`.
    """
    if not is_plain(url):
        return NOWHERE
    prepared = requests.PreparedRequest()
    try:
        prepared.prepare_url(url, None)
        sent, other = parse_url(prepared.url or ""), urlsplit(prepared.url or "")
        port = other.port
    except ValueError:  # unmatched brackets, a port above 65535; the errors of both libraries are ValueErrors
        return NOWHERE
    scheme, host = sent.scheme or "", (sent.host or "").lower()
    same = (host.strip("[]"), sent.port, scheme) == ((other.hostname or "").strip("[]"), port, other.scheme)
    if not host or not same or scheme not in _DEFAULT_PORTS:
        return NOWHERE
    return scheme, host, port or _DEFAULT_PORTS[scheme]


def is_same_origin(one: str, other: str) -> bool:
    """Tell whether two URLs have the same scheme, host and port; false if one is malformed."""
    return NOWHERE != origin_of(one) == origin_of(other)


def may_follow(source: str, target: str) -> bool:
    """Tell whether a redirect from the URL `source` to the URL `target` may be followed.

    It may if `target` uses TLS. A target without TLS is only allowed for a source without TLS, on loopback or the same host.
    """
    scheme, host, _ = origin_of(target)
    source_scheme, source_host, _ = origin_of(source)
    return scheme == "https" or (scheme == source_scheme == "http" and (is_loopback(host) or host == source_host))


def join(base: str, link: str) -> str:
    """Return the URL of `link` relative to `base`; empty if it is malformed."""
    try:
        return urljoin(base, link)
    except ValueError:
        return ""
