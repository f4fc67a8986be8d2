"""URLs that a registry names: which are used at all, whom they really reach, and where an answer may lead.

A realm, a ``Location`` and a ``Link`` are text of the registry. Parsers of URLs disagree about odd ones: for
``https://a\\@b/`` `urllib.parse.urlsplit` says host ``b`` (RFC 3986, section 3.2, has no backslash), and urllib3, which
sends, connects to ``a`` (urllib3 2.8, ``util/url.py``, ``_URI_RE``). So odd URLs are refused, and the host of the others is
read from the URL that requests sends.
"""

import re
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.util import parse_url

from hpcdeploy.registry.reference import is_loopback

ODD = "a backslash, a blank, a control or non-ASCII character, a user name, or a host in percent encoding"
"""What `is_plain` refuses, for messages."""

NOWHERE = ("", "", 0)
"""The origin of a text that is no URL of http or https."""

_PLAIN = re.compile(r"[!-\[\]-~]*")
_AUTHORITY = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//([^/?#]*)")
_DEFAULT_PORTS = {"https": 443, "http": 80}


def is_plain(url: str) -> bool:
    """Tell whether a URL, also a relative one, holds only what all parsers read alike.

    That is printable ASCII without a backslash (RFC 3986, section 2, has even fewer characters), no user name before the
    host (section 3.2.1) and no percent encoding in it, which some parsers decode.
    """
    authority = _AUTHORITY.match(url)
    return _PLAIN.fullmatch(url) is not None and not (authority and re.search("[@%]", authority[1]))


def origin_of(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port that a request for `url` goes to: what credentials belong to.

    The host is in lower case, an IPv6 address in brackets. It is read from the URL as requests prepares it, by urllib3 and
    by `urlsplit` (requests 2.34 uses both): `NOWHERE` where they differ, for a URL that is not `is_plain`, and for no URL.
    """
    if not is_plain(url):
        return NOWHERE
    prepared = requests.PreparedRequest()
    try:
        prepared.prepare_url(url, None)
        sent, other = parse_url(prepared.url or ""), urlsplit(prepared.url or "")
        port = other.port
    except ValueError:  # a port above 65535, brackets that close nothing; the errors of both libraries are of this kind
        return NOWHERE
    scheme, host = sent.scheme or "", (sent.host or "").lower()
    same = (host.strip("[]"), sent.port, scheme) == ((other.hostname or "").strip("[]"), port, other.scheme)
    if not host or not same or scheme not in _DEFAULT_PORTS:
        return NOWHERE
    return scheme, host, port or _DEFAULT_PORTS[scheme]


def is_same_origin(one: str, other: str) -> bool:
    """Tell whether two URLs go to the same scheme, host and port; a text that is no URL goes nowhere."""
    return NOWHERE != origin_of(one) == origin_of(other)


def may_follow(source: str, target: str) -> bool:
    """Tell whether the answer of the URL `source` may lead to the URL `target`.

    It may over TLS. Without TLS it may only from a host without TLS, and to loopback or to that same host.
    """
    scheme, host, _ = origin_of(target)
    source_scheme, source_host, _ = origin_of(source)
    return scheme == "https" or (scheme == source_scheme == "http" and (is_loopback(host) or host == source_host))


def join(base: str, link: str) -> str:
    """Return the URL that `link` leads to from `base`; empty where it is none."""
    try:
        return urljoin(base, link)
    except ValueError:
        return ""
