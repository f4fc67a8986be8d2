"""What registries, token services and credential files say."""

import io
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import requests
from requests.adapters import BaseAdapter

from hpcdeploy.environments.oci import config_behind, read_config
from hpcdeploy.environments.oci_layers import LayerBlob, image_behind, image_of
from hpcdeploy.errors import EnvironmentFileError, HpcdeployError
from hpcdeploy.plain_text import plain
from hpcdeploy.registry.authentication import may_ask_realm, merge_scopes, parse_challenges
from hpcdeploy.registry.credentials import find_credentials
from hpcdeploy.registry.manifest import parse_manifest, read_annotations, render_manifest
from hpcdeploy.registry.oci_client import OciClient
from hpcdeploy.registry.reference import parse_image, parse_reference
from hpcdeploy.registry.retries import RetryPolicy, parse_retry_after
from hpcdeploy.registry.tag_details import details_of
from hpcdeploy.tags import newest_tag, sanitise_tag, web_address
from tests.fuzz.damage import as_json, texts
from tests.fuzz.parser import Parser
from tests.registry.images import CREATED, NOTHING, user

REFERENCE = parse_reference("oras://registry.example.org/lab/train")
MANIFEST = json.loads(render_manifest(sha256="ab" * 32, size=9, title="x", created=CREATED, annotations={"a": "b"}))
CONFIG = {
    "os": "linux",
    "architecture": "amd64",
    "config": {
        "Entrypoint": ["/bin/sh"],
        "Cmd": ["-c", "x"],
        "WorkingDir": "/w",
        "User": "me",
        "Env": ["PATH=/bin", "A="],
        "Labels": {"a": "b"},
        "ExposedPorts": {"80/tcp": {}},
        "OnBuild": [],
        "Shell": ["sh"],
        "Volumes": {"/d": {}},
        "Healthcheck": {"Test": ["NONE"]},
    },
}
OCI = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "sha256:" + "0" * 64, "size": 9},
}
INDEX = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.index.v1+json",
    "manifests": [
        {
            "mediaType": OCI["mediaType"],
            "digest": "sha256:" + "1" * 64,
            "platform": {"os": "linux", "architecture": "amd64", "variant": "v2"},
        }
    ],
}
LAYERED_IMAGE = {**CONFIG, "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "2" * 64]}}
LAYERED = json.dumps(LAYERED_IMAGE).encode()
LAYERS = {
    **OCI,
    "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": f"sha256:{sha256(LAYERED).hexdigest()}"},
    "layers": [
        {"mediaType": "application/vnd.oci.image.layer.v1.tar+zstd", "digest": "sha256:" + "3" * 64, "size": 9},
    ],
}
CHALLENGES = (
    'Bearer realm="https://registry.example.org/token",service="registry",scope="repository:lab/train:pull"',
    'Basic realm="x", Bearer realm="https://auth.example.org:443/t"',
)
LINKS = ('</v2/lab/train/tags/list?n=1&last=a>; rel="next"', '<https://registry.example.org/v2/x>; rel="next"')
LOCATIONS = ("/v2/lab/train/blobs/uploads/1?_state=x", "https://registry.example.org:443/upload/1", "//other.example.org/x")
SWIFT = RetryPolicy(connect=1.0, read=1.0, upload=1.0, first_wait=0.0, sleep=lambda _seconds: None)

Answer = tuple[int, Mapping[str, str], bytes]


class _Answers(BaseAdapter):
    """Answers each request as `script` says; nothing goes over a network."""

    def __init__(self, script: Callable[[requests.PreparedRequest], Answer]) -> None:
        super().__init__()
        self._script = script

    def send(self, request: requests.PreparedRequest, *_words: Any, **_options: Any) -> requests.Response:
        status, headers, body = self._script(request)
        response = requests.Response()
        response.status_code, response.request, response.url = status, request, request.url or ""
        response.headers.update(headers)
        response.raw = io.BytesIO(body)
        return response

    def close(self) -> None:
        pass


def client_of(script: Callable[[requests.PreparedRequest], Answer], *, known: bool = False) -> OciClient:
    lookup = user("me", "secret") if known else NOTHING
    client = OciClient(REFERENCE, lookup, plain_http=False, policy=SWIFT, doing="Looking up")
    client.session.mount("https://", _Answers(script))
    return client


def header(text: str) -> str:
    """Return what http.client can hand on as a header's value: one line of latin-1."""
    return text.encode("latin-1", "replace").decode("latin-1").replace("\r", " ").replace("\n", " ")


def as_error(text: str) -> None:
    client_of(lambda _request: (500, {}, text.encode("utf-8", "surrogatepass"))).read_manifest("latest")


def as_tags(text: str) -> None:
    tags = client_of(lambda _request: (200, {}, text.encode("utf-8", "surrogatepass"))).list_tags()
    assert all(tag.isprintable() for tag in tags)


def as_link(text: str) -> None:
    pages = iter(range(5))

    def script(_request: requests.PreparedRequest) -> Answer:
        link = {"Link": header(text)} if next(pages, None) is not None else {}
        return 200, link, b'{"tags": ["a"]}'

    client_of(script).list_tags()


def as_token(text: str) -> None:
    def script(request: requests.PreparedRequest) -> Answer:
        if "/token" in (request.url or ""):
            return 200, {}, text.encode("utf-8", "surrogatepass")
        allowed = "Bearer " in str(request.headers.get("Authorization"))
        return (200 if allowed else 401), {"WWW-Authenticate": CHALLENGES[0]}, b"{}"

    client_of(script).read_manifest("latest")


def as_challenge(text: str) -> None:
    value = header(text)
    for challenge in parse_challenges(value):
        may_ask_realm("https://registry.example.org", challenge.realm)
        if may_ask_realm("https://registry.example.org", challenge.realm):
            assert challenge.realm.lower().startswith("https:")
        merge_scopes(challenge.scope, "repository:lab/train:pull")

    def script(request: requests.PreparedRequest) -> Answer:
        assert "example.org" in (request.url or "") or "Authorization" not in request.headers
        return 401, {"WWW-Authenticate": value}, b"{}"

    client_of(script, known=True).read_manifest("latest")


def as_location(text: str) -> None:
    def script(request: requests.PreparedRequest) -> Answer:
        host = (request.url or "").partition("://")[2].partition("/")[0].rpartition("@")[2].removesuffix(":443")
        assert host == "registry.example.org" or "Authorization" not in request.headers
        return {"POST": 202, "GET": 307, "HEAD": 404}.get(request.method or "", 201), {"Location": header(text)}, b""

    try:
        client_of(script, known=True).read_manifest("latest")
    except HpcdeployError:
        client = client_of(script, known=True)
        client.put_upload(b"x", f"sha256:{'0' * 64}", 1)


def as_manifest(text: str) -> None:
    content = text.encode("utf-8", "surrogatepass")
    image = parse_manifest(content, repository="registry.example.org/lab/train")
    read_annotations(content)
    assert image.reference


def as_tag_details(text: str) -> None:
    content = text.encode("utf-8", "surrogatepass")
    found = details_of("a", content, lambda _digest: content, lambda _digest: content)
    assert found.created >= 0


def as_image(text: str) -> None:
    content = text.encode("utf-8", "surrogatepass")
    read_config(content)


def as_index(text: str) -> None:
    content = text.encode("utf-8", "surrogatepass")
    config_behind(content, lambda _digest: content, lambda _digest: json.dumps(CONFIG).encode())


def as_layers(text: str) -> None:
    content = text.encode("utf-8", "surrogatepass")
    found = image_behind(content, lambda _digest: content, lambda _digest: LAYERED)
    assert all(layer.size > 0 for layer in found.layers)


def as_layered_image(text: str) -> None:
    image_of(text.encode("utf-8", "surrogatepass"), (LayerBlob(digest="sha256:" + "3" * 64, size=9, diff_id=""),))


def as_credentials(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        answer = (0, '{"Username": "me", "Secret": "x"}')
        found = find_credentials(REFERENCE, (path,), lambda _program, _key: answer)
        client_of(lambda _request: (200, {}, b"{}"))._lookup = found


def as_helper(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_text('{"credsStore": "x"}')
        find_credentials(REFERENCE, (path,), lambda _program, _key: (0, text))


def as_reference(text: str) -> None:
    for read in (parse_reference, parse_image):
        try:
            parsed = read(text)
        except HpcdeployError:
            continue
        else:
            assert str(replace(parsed)).isprintable()


def as_remote(text: str) -> None:
    web_address(text)
    newest_tag(text.split())
    sanitise_tag(text)
    plain(text)


REGISTRIES = (
    Parser(name="manifest", inputs=as_json([MANIFEST]), read=as_manifest),
    Parser(name="tag-details", inputs=as_json([MANIFEST, INDEX, OCI]), read=as_tag_details),
    Parser(name="image-index", inputs=as_json([INDEX, OCI]), read=as_index, errors=(EnvironmentFileError,)),
    Parser(name="image-layers", inputs=as_json([LAYERS]), read=as_layers, errors=(EnvironmentFileError,)),
    Parser(name="layered-image", inputs=as_json([LAYERED_IMAGE]), read=as_layered_image, errors=(EnvironmentFileError,)),
    Parser(name="image-configuration", inputs=as_json([CONFIG]), read=as_image, errors=(EnvironmentFileError,)),
    Parser(name="registry-error", inputs=as_json([{"errors": [{"code": "DENIED", "message": "no"}]}]), read=as_error),
    Parser(name="tags", inputs=as_json([{"name": "lab/train", "tags": ["1.0", "latest"]}]), read=as_tags),
    Parser(name="link", inputs=texts(LINKS), read=as_link),
    Parser(name="token", inputs=as_json([{"token": "abc", "expires_in": 60}, {"access_token": "abc"}]), read=as_token),
    Parser(name="challenge", inputs=texts(CHALLENGES), read=as_challenge),
    Parser(name="location", inputs=texts(LOCATIONS), read=as_location),
    Parser(name="retry-after", inputs=texts(("120", "Fri, 31 Dec 1999 23:59:59 GMT")), read=parse_retry_after),
    Parser(
        name="credentials",
        inputs=as_json(
            [
                {"auths": {"registry.example.org": {"auth": "bWU6c2VjcmV0"}, "docker.io": {"identitytoken": "x"}}},
                {"credHelpers": {"registry.example.org": "x"}, "credsStore": "y", "auths": {}},
            ]
        ),
        read=as_credentials,
    ),
    Parser(name="credential-helper", inputs=as_json([{"Username": "me", "Secret": "x"}]), read=as_helper),
    Parser(name="reference", inputs=texts((f"oras://h.example.org:5000/a/b:1@sha256:{'0' * 64}", "a:3")), read=as_reference),
    Parser(name="git-remote", inputs=texts(("git@example.org:a/b.git", "https://u:p@example.org:8443/a")), read=as_remote),
)
