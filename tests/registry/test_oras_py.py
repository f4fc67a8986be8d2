"""What plain oras-py does wrong, so that a fix is noticed: then the library's own method can be used.

Each test names a method that a module of ``hpcdeploy.registry`` has in its place: ``oci_requests``, ``oci_client`` or
``authentication``.
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import oras.container
import oras.provider
import pytest

from tests.registry.images import Image
from tests.registry.odd_server import Reply, StatusReport, misbehave
from tests.registry.token_service import PASSWORD, USER, TokenService


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Keep oras-py's waits short, and write down how long they would have been."""
    waits: list[float] = []
    monkeypatch.setattr("oras.decorator.time.sleep", waits.append)
    return waits


def layer(image: Image) -> dict[str, Any]:
    return {"digest": f"sha256:{image.sha256}", "size": len(image.content), "mediaType": "application/x"}


def test_put_upload_still_reads_the_whole_file(open_host: str, image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies: list[object] = []
    client = oras.provider.Registry(open_host, insecure=True)
    send = client.session.request

    def watch(method: str, url: str, **words: Any) -> Any:
        if method == "PUT":
            bodies.append(words["data"])
        return send(method, url, **words)

    monkeypatch.setattr(client.session, "request", watch)
    with client.session:
        client.put_upload(str(image.path), client.get_container(f"{open_host}/oras/whole"), layer(image))
    assert bodies == [image.content]


def test_a_cached_token_is_still_sent_again_when_it_is_refused(
    token_host: str, tokens: TokenService, image: Image, impatient: list[float]
) -> None:
    client = oras.provider.Registry(token_host, insecure=True)
    client.auth.set_basic_auth(USER, PASSWORD)
    with client.session, pytest.raises(ValueError, match="session url"):
        client.upload_blob(str(image.path), client.get_container(f"{token_host}/oras/token"), layer(image))


def test_download_blob_still_keeps_what_does_not_match_its_digest(image: Image, tmp_path: Path) -> None:
    with misbehave(lambda _asked: Reply(body=b"something else")) as odd:
        client = oras.provider.Registry(odd.host, insecure=True)
        with client.session:
            client.download_blob(client.get_container(f"{odd.host}/a/b"), f"sha256:{image.sha256}", str(tmp_path / "got"))
    assert (tmp_path / "got").read_bytes() == b"something else"


def test_get_manifest_still_checks_no_digest() -> None:
    with misbehave(lambda _asked: Reply(body=b'{"a": 1}')) as odd:
        client = oras.provider.Registry(odd.host, insecure=True)
        with client.session:
            assert client.get_manifest(f"{odd.host}/a/b@sha256:{'1' * 64}") == {"a": 1}


def test_upload_manifest_still_serialises_anew(image: Image) -> None:
    content = b'{"schemaVersion":2,"config":{"mediaType":"a","digest":"sha256:b","size":2},"layers":[]}'
    with misbehave(lambda _asked: Reply(201)) as odd:
        client = oras.provider.Registry(odd.host, insecure=True)
        with client.session:
            client.upload_manifest(json.loads(content), client.get_container(f"{odd.host}/a/b:c"))
        assert hashlib.sha256(odd.asked[0].body).digest() != hashlib.sha256(content).digest()


def test_do_request_still_waits_two_minutes_for_a_connection_that_is_refused(impatient: list[float]) -> None:
    with misbehave(lambda _asked: Reply()) as odd:
        host = odd.host
    client = oras.provider.Registry(host, insecure=True)
    with client.session, pytest.raises(OSError, match="refused"):
        client.do_request(f"http://{host}/v2/")
    assert sum(impatient) > 100


def test_one_token_still_goes_to_every_host() -> None:
    def script(asked: StatusReport) -> Reply:
        return Reply()

    with misbehave(script) as first, misbehave(script) as second:
        client = oras.provider.Registry(first.host, insecure=True)
        client.auth.set_token_auth("for the first")
        with client.session:
            client.do_request(f"http://{second.host}/v2/")
        assert second.asked[0].headers["authorization"] == "Bearer for the first"


def test_a_password_still_goes_to_whatever_realm_is_named() -> None:
    with misbehave(lambda _asked: Reply(body=b'{"token": "x"}')) as elsewhere:
        challenge = {"WWW-Authenticate": f'Bearer realm="http://{elsewhere.host}/token",service="x"'}
        with misbehave(lambda _asked: Reply(401, challenge)) as odd:
            client = oras.provider.Registry(odd.host, insecure=True)
            client.auth.set_basic_auth("me", "secret")
            with client.session:
                client.do_request(f"http://{odd.host}/v2/")
        assert elsewhere.asked[0].headers["authorization"] == "Basic " + base64.b64encode(b"me:secret").decode()


def test_a_path_with_a_full_stop_is_still_taken_for_a_host() -> None:
    assert oras.container.Container("my.app/train", registry="ghcr.io").registry == "my.app"


def test_docker_hub_is_still_asked_at_its_wrong_name() -> None:
    assert oras.container.Container("docker.io/me/train").manifest_url().startswith("docker.io/")
