"""Addresses and documents of registries that are none: one error each, in words, with its exit code."""

import json

import pytest

from hpcdeploy import limits
from hpcdeploy.errors import AuthenticationError, HpcdeployError, RegistryError
from hpcdeploy.registry.addresses import NOWHERE, may_follow, origin_of
from hpcdeploy.registry.authentication import may_ask_realm
from hpcdeploy.registry.manifest import parse_manifest
from hpcdeploy.registry.oci_client import OciClient
from hpcdeploy.registry.reference import parse_reference
from tests.registry.images import NOTHING, SWIFT, registry, user
from tests.registry.odd_server import Reply, StatusReport, misbehave

BAD = [
    *("http://127.0.0.1:99999/x", "http://127.0.0.1:port/x", "http://[::1/x", "http://[x]/", "//127.0.0.1:-1/x"),
    *("http://a..example/x", f"http://{'a' * 70}.example/x", "http://\x7f\x1b[2J/x", "gopher://x/", "http://", "http:///x"),
]
NESTED = "[" * 150 + "]" * 150
DEEP = "[" * 50_000


def client(host: str) -> OciClient:
    return OciClient(parse_reference(f"oras://{host}/lab/train"), NOTHING, plain_http=True, policy=SWIFT, doing="Looking up")


@pytest.mark.parametrize("address", BAD)
def test_a_location_that_is_no_address_is_one_error(address: str) -> None:
    with misbehave(lambda _asked: Reply(307, {"Location": address})) as odd, pytest.raises(RegistryError) as raised:
        registry(odd.host).resolve()
    assert "Looking up" in str(raised.value)
    assert raised.value.exit_code == 68


@pytest.mark.parametrize("address", BAD)
def test_an_upload_that_is_sent_to_no_address_is_one_error(address: str) -> None:
    def script(asked: StatusReport) -> Reply:
        return Reply(202, {"Location": address}) if asked.method == "POST" else Reply(404)

    with misbehave(script) as odd:
        opened = client(odd.host)
        with opened.session, pytest.raises(RegistryError):
            opened.put_upload(b"x", f"sha256:{'0' * 64}", 1)


@pytest.mark.parametrize("address", BAD)
def test_a_realm_that_is_no_address_is_asked_for_nothing(address: str) -> None:
    def script(_asked: StatusReport) -> Reply:
        return Reply(401, {"WWW-Authenticate": f'Bearer realm="{address}",service="x"'})

    with misbehave(script) as odd, pytest.raises(HpcdeployError) as raised:
        registry(odd.host, found=user("me", "secret")).resolve()
    assert isinstance(raised.value, AuthenticationError | RegistryError)
    assert "secret" not in str(raised.value)


def test_a_text_that_is_no_address_has_no_origin() -> None:
    for address in ("http://h:99999/", "http://h:x/", "http://[::1", "https://[x]:443"):
        assert origin_of(address) == NOWHERE
        assert not may_ask_realm("https://h", address)
        assert not may_follow("https://h", address)


@pytest.mark.parametrize(
    "body", [NESTED, DEEP, "null", "[]", "7", '"x"', '{"errors": 7}', '{"errors": [[]]}', "{", "\udcff"]
)
def test_an_odd_body_of_an_error_is_left_out_of_the_message(body: str) -> None:
    content = body.encode("utf-8", "surrogatepass")
    with misbehave(lambda _asked: Reply(400, body=content)) as odd, pytest.raises(RegistryError, match="status 400"):
        registry(odd.host).resolve()


@pytest.mark.parametrize(
    "token",
    [
        *(
            NESTED,
            DEEP,
            "null",
            "[]",
            "{}",
            '{"token": 7}',
            '{"token": "a\\nb"}',
            '{"token": "a b"}',
            '{"token": "caf\\u00e9"}',
        ),
        *('{"token": "x", "expires_in": 1' + "0" * 400 + "}", '{"token": "x", "expires_in": "soon"}', '{"token": ["x"]}'),
    ],
)
def test_an_answer_without_a_usable_token_is_one_error(token: str) -> None:
    def script(asked: StatusReport) -> Reply:
        if asked.path.startswith("/token"):
            return Reply(body=token.encode())
        return Reply(401, {"WWW-Authenticate": f'Bearer realm="http://{odd.host}/token",service="x"'})

    with misbehave(script) as odd, pytest.raises(AuthenticationError, match="without a token"):
        registry(odd.host).resolve()


@pytest.mark.parametrize(
    "tags", [NESTED, DEEP, "null", "7", '{"tags": 7}', '{"tags": {"a": 1}}', '{"tags": [1]}', '{"tags": ["\\u001b"]}']
)
def test_what_is_no_list_of_tags_is_one_error(tags: str) -> None:
    with misbehave(lambda _asked: Reply(body=tags.encode())) as odd, pytest.raises(RegistryError, match="no list of tags"):
        registry(odd.host).tags()


def test_pages_of_tags_that_lead_in_a_circle_are_one_error_and_an_end_is_an_end() -> None:
    def script(asked: StatusReport) -> Reply:
        link = "" if "last" in asked.path else '</v2/lab/train/tags/list?last=a>; rel="next"'
        return Reply(headers={"Link": link} if link else {}, body=b'{"tags": ["a"]}')

    with misbehave(script) as odd:
        assert registry(odd.host).tags() == ("a", "a")
        odd.script = lambda _asked: Reply(headers={"Link": '<?last=a>; rel="next"'}, body=b'{"tags": []}')
        with pytest.raises(RegistryError, match="was read before"):
            registry(odd.host).tags()
        odd.script = lambda _asked: Reply(headers={"Link": '<http://[::1>; rel="next"'}, body=b'{"tags": ["b"]}')
        assert registry(odd.host).tags() == ("b",)


def test_pages_without_tags_that_lead_ever_further_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_TAGS", 5)

    def script(_asked: StatusReport) -> Reply:
        link = {"Link": f'<?last={len(odd.asked)}>; rel="next"'} if len(odd.asked) < 20 else {}
        return Reply(headers=link, body=b'{"tags": []}')

    with misbehave(script) as odd, pytest.raises(RegistryError, match="more than 5 tags, or pages"):
        registry(odd.host).tags()
    assert len(odd.asked) == 6


@pytest.mark.parametrize("size", [0, -1, True, "7", 1.5, 2**63, None])
def test_a_layers_size_is_a_number_that_a_file_can_have(size: object) -> None:
    layer = {"mediaType": "application/vnd.sylabs.sif.layer.v1.sif", "digest": f"sha256:{'0' * 64}", "size": size}
    with pytest.raises(RegistryError, match="no size"):
        parse_manifest(json.dumps({"layers": [layer]}).encode(), repository="h/x")
