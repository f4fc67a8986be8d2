"""Decide which URLs of a registry are used, which host they reach, and which redirects are followed.

The URL of a token service (``realm``), of a redirect (``Location``) and of the next page (``Link``) come from the registry,
which is not trusted. Parsers disagree about malformed URLs. For ``https://a\\@b/``, `urllib.parse.urlsplit` returns host
``b`` (RFC 3986, section 3.2, allows no backslash). But urllib3, which sends the request, connects to ``a`` (urllib3 2.8,
``util/url.py``, ``_URI_RE``). So malformed URLs are refused, and the host of a valid URL is read from the URL that
requests sends.
"""

import re
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.util import parse_url

from hpcdeploy.registry.reference import is_loopback

ODD = "a backslash, a blank, a control or non-ASCII character, a user name, or a host in percent encoding"
"""Description of the URLs that `is_plain` refuses, for messages."""

NOWHERE = ("", "", 0)
"""The result of `origin_of` for a text that is not a valid ``http`` or ``https`` URL."""

_PLAIN = re.compile(r"[!-\[\]-~]*")
_AUTHORITY = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//([^/?#]*)")
_DEFAULT_PORTS = {"https": 443, "http": 80}


def is_plain(url: str) -> bool:
    """Tell whether all parsers read the same parts from `url`, which may be absolute or relative.

    A plain URL consists of printable ASCII characters without a backslash (RFC 3986, section 2, allows even fewer
    characters). It has no user name before the host (section 3.2.1). Its host has no percent encoding, because only some
    parsers decode a host.
    """
    authority = _AUTHORITY.match(url)
    return _PLAIN.fullmatch(url) is not None and not (authority and re.search("[@%]", authority[1]))


def origin_of(url: str) -> tuple[str, str, int]:
    """Return the scheme, host and port to which requests sends a request for `url`. Credentials are stored per origin.

    The host is in lower case; an IPv6 address is in brackets. requests 2.34 parses a URL with urllib3 and with `urlsplit`.
    So this function parses the URL that requests prepares with both, and returns `NOWHERE` if their results differ. It also
    returns `NOWHERE` if `url` is malformed or not `is_plain`.
    """
    if not is_plain(url):
        return NOWHERE
    prepared = requests.PreparedRequest()
    try:
        prepared.prepare_url(url, None)
        sent, other = parse_url(prepared.url or ""), urlsplit(prepared.url or "")
        port = other.port
    except ValueError:  # such as unmatched brackets or a port above 65535; both libraries raise subclasses of ValueError
        return NOWHERE
    scheme, host = sent.scheme or "", (sent.host or "").lower()
    same = (host.strip("[]"), sent.port, scheme) == ((other.hostname or "").strip("[]"), port, other.scheme)
    if not host or not same or scheme not in _DEFAULT_PORTS:
        return NOWHERE
    return scheme, host, port or _DEFAULT_PORTS[scheme]


def is_same_origin(one: str, other: str) -> bool:
    """Tell whether two URLs have the same scheme, host and port; false if `origin_of` returns `NOWHERE` for one of them."""
    return NOWHERE != origin_of(one) == origin_of(other)


def may_follow(source: str, target: str) -> bool:
    """Tell whether a redirect from the URL `source` to the URL `target` may be followed.

    A target with TLS (``https``) may always be followed. A target without TLS may be followed if the source uses no TLS
    either, and the target is on loopback or on the host of the source.
    """
    scheme, host, _ = origin_of(target)
    source_scheme, source_host, _ = origin_of(source)
    return scheme == "https" or (scheme == source_scheme == "http" and (is_loopback(host) or host == source_host))


def join(base: str, link: str) -> str:
    """Return the absolute URL of `link`, which may be relative to `base`; empty if a URL is malformed."""
    try:
        return urljoin(base, link)
    except ValueError:
        return ""
