"""URLs from a registry: their host is the one that requests sends them to, and malformed ones are not sent."""

from collections.abc import Callable

import pytest
import requests
from urllib3.util import parse_url

from hpcdeploy.errors import AuthenticationError, HpcdeployError, RegistryError
from hpcdeploy.registry.addresses import NOWHERE, is_same_origin, may_follow, origin_of
from hpcdeploy.registry.oci_client import OciClient
from hpcdeploy.registry.reference import parse_reference
from tests.registry.images import SWIFT, user
from tests.registry.odd_server import OddServer, Reply, Script, StatusReport, misbehave

ODD = [
    r"https://evil.example\@reg.example/token",
    r"https://evil.example\.reg.example/token",
    r"https:\\reg.example/token",
    r"https://reg.example/to\ken",
    "https://reg.example@evil.example/token",
    "https://me:word@reg.example/token",
    "https://@reg.example/token",
    "https://reg%2eexample/token",
    "https://reg.example%2f.evil.example/token",
    "https://evil.example%5c@reg.example/token",
    "https://[fe80::1%25lo]/token",
    "https://reg.example /token",
    " https://reg.example/token",
    "https://reg.example/token\t",
    "https://reg.exa\nmple/token",
    "https://reg.example/to ken",
    "https://reg.example\x00/token",
    "https://reg.example\x7f/token",
    "https://reg.example\x85/token",
    "https://reg.example\u2028/token",
    "https://ｒeg.example/token",  # noqa: RUF001 - IDNA makes it reg.example
    "https://reg.example\u2044token",
    "https://reg.example:٤٤٣/token",
]
NO_ADDRESSES = [
    "",
    "/token",
    "reg.example/token",
    "https:///token",
    "https:reg.example",
    "file:///x",
    "httpx://reg.example/",
]


@pytest.mark.parametrize("url", [*ODD, *NO_ADDRESSES])
def test_an_odd_url_is_nobodys(url: str) -> None:
    assert origin_of(url) == NOWHERE
    assert not may_follow("https://reg.example/", url)
    assert not may_follow("http://127.0.0.1/", url)
    assert not is_same_origin(url, url)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://GHCR.io/v2/", ("https", "ghcr.io", 443)),
        ("HTTPS://ghcr.io:0443/x", ("https", "ghcr.io", 443)),
        ("http://ghcr.io/", ("http", "ghcr.io", 80)),
        ("https://ghcr.io?next=https://evil.example/", ("https", "ghcr.io", 443)),
        ("https://ghcr.io#@evil.example/", ("https", "ghcr.io", 443)),
        ("https://store.example/b?sig=a%2Fb%40c&at=me@lab", ("https", "store.example", 443)),
        ("https://store.example/@me/%40%5C/x:y", ("https", "store.example", 443)),
        ("http://[::1]:5000/x", ("http", "[::1]", 5000)),
        ("https://xn--bcher-kva.example/", ("https", "xn--bcher-kva.example", 443)),
    ],
)
def test_the_origin_of_a_url_is_where_requests_sends_it(url: str, origin: tuple[str, str, int]) -> None:
    assert origin_of(url) == origin
    sent = parse_url(requests.Request("GET", url).prepare().url or "")
    assert (sent.scheme, sent.host) == origin[:2]


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("https://a.example/", "https://b.example/", True),
        ("https://a.example/", "http://a.example/", False),
        ("https://a.example/", "http://127.0.0.1/", False),
        ("http://127.0.0.1:5000/x", "https://b.example/", True),
        ("http://127.0.0.1:5000/x", "http://127.0.0.1:5001/x", True),
        ("http://127.0.0.1:5000/x", "http://[::1]:5001/x", True),
        ("http://127.0.0.1:5000/x", "http://192.0.2.1/x", False),
        ("http://localhost:5000/x", "http://evil.localhost/x", False),
        ("http://localhost:5000/x", "http://127.0.0.1.evil.example/x", False),
        ("http://localhost:5000/x", "http://0.0.0.0:5001/x", False),
        ("http://localhost:5000/x", "http://2130706433/x", False),
        ("http://a.example/", "http://a.example:81/", True),
        ("http://a.example/", "http://b.example/", False),
    ],
)
def test_without_tls_an_answer_leads_to_this_machine_only(source: str, target: str, *, expected: bool) -> None:
    assert may_follow(source, target) is expected


Redirect = Callable[[StatusReport, str], Reply]


def read(asked: StatusReport, url: str) -> Reply:
    return Reply(307, {"Location": url})


def upload(asked: StatusReport, url: str) -> Reply:
    return Reply(202, {"Location": url}) if asked.method == "POST" else Reply(404)


def page(asked: StatusReport, url: str) -> Reply:
    link = {"Link": f'<{url}>; rel="next"'} if asked.path.endswith("/tags/list") else {}
    return Reply(headers=link, body=b'{"tags": ["a"]}')


def work(odd: OddServer, kind: Redirect) -> None:
    """Do what meets an answer of that kind, with a password."""
    reference, found = parse_reference(f"oras://{odd.host}/lab/train"), user("me", "secret")
    client = OciClient(reference, found, plain_http=True, policy=SWIFT, doing="Looking up")
    with client.session:
        if kind is read:
            client.read_manifest("latest")
        elif kind is upload:
            client.put_upload(b"x", f"sha256:{'0' * 64}", 1)
        else:
            client.list_tags()


def locked(asked: StatusReport, reply: Reply) -> Reply:
    return reply if "authorization" in asked.headers else Reply(401, {"WWW-Authenticate": 'Basic realm="x"'})


REFUSED = "redirects to an address with|does not use TLS|sent an invalid URL"


@pytest.mark.parametrize("kind", [read, upload, page])
@pytest.mark.parametrize(
    "form",
    [
        r"http://{other}\@{ours}/x",
        r"http://{other}\.{ours}/x",
        r"//{other}\@{ours}/x",
        r"\\{other}/x",
        "http://me@{other}/x",
        "http://{ours}@{other}/x",
        "http://127%2e0.0.1:{port}/x",
        "http://0.0.0.0:{port}/x",
    ],
)
def test_a_registry_that_sends_us_to_an_odd_url_gets_one_error_and_nobody_is_asked(kind: Redirect, form: str) -> None:
    with misbehave(lambda _asked: Reply(200, body=b'{"tags": []}')) as other:
        port = other.host.rpartition(":")[2]
        script: Script = lambda asked: locked(asked, kind(asked, form.format(other=other.host, ours=odd.host, port=port)))  # noqa: E731
        with misbehave(script) as odd, pytest.raises(RegistryError, match=REFUSED) as raised:
            work(odd, kind)
    assert other.asked == []
    assert len([one for one in odd.asked if "authorization" in one.headers]) == 1
    assert raised.value.exit_code == 68


@pytest.mark.parametrize(
    "form", [r"http://{other}\@{ours}/token", "http://{ours}@{other}/token", "http://127%2e0.0.1:{port}/x"]
)
def test_a_token_service_with_an_odd_url_gets_no_password(form: str) -> None:
    with misbehave(lambda _asked: Reply(body=b'{"token": "t"}')) as other:
        port = other.host.rpartition(":")[2]

        def script(_asked: StatusReport) -> Reply:
            realm = form.format(other=other.host, ours=odd.host, port=port)
            return Reply(401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="x"'})

        with misbehave(script) as odd, pytest.raises(AuthenticationError, match="nothing was sent there"):
            work(odd, read)
    assert other.asked == []


@pytest.mark.parametrize("kind", [read, upload])
def test_blanks_around_a_location_are_none_of_it(kind: Redirect) -> None:
    script: Script = lambda asked: kind(asked, "/there \t") if asked.path != "/there" else Reply(404)  # noqa: E731
    with misbehave(script) as odd, pytest.raises(HpcdeployError):
        work(odd, kind)
    assert odd.asked[1].path.partition("?")[0] == "/there"
