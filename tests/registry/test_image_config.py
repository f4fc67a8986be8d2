"""What a container image says of itself, asked of real registries; and of odd ones."""

import base64
import json
from pathlib import Path

import pytest

from hpcdeploy.errors import AuthenticationError, ConfigError, RegistryError
from hpcdeploy.limits import LARGEST_DOCUMENT
from hpcdeploy.registry.lookup import image_config
from hpcdeploy.registry.reference import Reference, parse_image
from hpcdeploy.source import OciConfig
from tests.registry import containers as made
from tests.registry.odd_server import Reply, StatusReport, misbehave
from tests.registry.token_service import PASSWORD, USER

SAID = {
    "Entrypoint": ["/entry", "a b"],
    "Cmd": ["run"],
    "WorkingDir": "/srv/x",
    "User": "1000:1000",
    "Env": ["PATH=/bin", "A=b=c", "EMPTY=", "A=later"],
    "Labels": {"org.example.a": "b"},
    "ExposedPorts": {"80/tcp": {}},
    "Volumes": {"/data": {}},
    "StopSignal": "SIGINT",
    "Healthcheck": {"Test": ["CMD", "true"]},
    "OnBuild": ["RUN true"],
    "Shell": ["/bin/bash", "-c"],
}
READ = {
    "entrypoint": ("/entry", "a b"),
    "cmd": ("run",),
    "workdir": "/srv/x",
    "user": "1000:1000",
    "env": (("PATH", "/bin"), ("A", "later"), ("EMPTY", "")),
    "labels": (("org.example.a", "b"),),
    "ports": ("80/tcp",),
    "volumes": ("/data",),
    "stop_signal": "SIGINT",
    "health_check": True,
    "on_build": ("RUN true",),
    "shell": ("/bin/bash", "-c"),
}


def put(host: str, path: str, *images: made.Document, configs: tuple[made.Document, ...], tag: str = "v1") -> None:
    """Put images, and an index of them where there are several, under `tag`."""
    for config in configs:
        made.put_blob(host, path, config.content)
    for image in images:
        made.put_manifest(host, path, image.digest, image)
    made.put_manifest(host, path, tag, images[-1])


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("family", ["oci", "docker"])
def test_a_single_image_is_read_by_tag_and_by_digest(open_host: str, family: str) -> None:
    config = made.config(SAID, family=family)
    image = made.manifest(config, family=family)
    put(open_host, f"single/{family}", image, configs=(config,))
    read = image_config(f"{open_host}/single/{family}:v1")
    assert read == OciConfig(digest=image.digest, **READ)  # type: ignore[arg-type]
    assert image_config(f"{open_host}/single/{family}:gone@{image.digest}") == read


@pytest.mark.parametrize("family", ["oci", "docker"])
def test_an_index_is_followed_to_the_image_for_this_platform(open_host: str, family: str) -> None:
    arm = made.config({"Cmd": ["arm"]}, family=family, architecture="arm64")
    new, plain = made.config({"Cmd": ["new"]}, family=family), made.config(SAID, family=family)
    images = (
        made.manifest(arm, family=family, architecture="arm64"),
        made.manifest(new, family=family, architecture="amd64", variant="v3"),
        made.manifest(plain, family=family, architecture="amd64"),
    )
    put(open_host, f"index/{family}", *images, made.index(*images, family=family), configs=(arm, new, plain))
    read = image_config(f"{open_host}/index/{family}:v1")
    assert (read.digest, read.cmd) == (images[2].digest, ("run",))


def test_a_missing_platform_names_those_that_are_there(open_host: str) -> None:
    config = made.config(SAID, architecture="arm64")
    image = made.manifest(config, architecture="arm64")
    note = made.manifest(config, architecture="unknown")
    put(open_host, "arm", image, note, made.index(image, note), configs=(config,))
    with pytest.raises(RegistryError, match=r"docker://.*/arm:v1 .* no image for linux/amd64, only for linux/arm64"):
        image_config(f"{open_host}/arm:v1")
    with pytest.raises(RegistryError, match=r"it is an image for linux/arm64; expected one for linux/amd64"):
        image_config(f"{open_host}/arm@{image.digest}")


def test_an_image_that_says_nothing_is_one(open_host: str) -> None:
    config = made.config({"Entrypoint": None, "Cmd": None, "Env": None, "Healthcheck": {"Test": ["NONE"]}})
    image = made.manifest(config)
    put(open_host, "silent", image, configs=(config,))
    assert image_config(f"{open_host}/silent:v1") == OciConfig(digest=image.digest)


def test_what_is_no_container_image_is_refused_with_what_it_is(open_host: str) -> None:
    sif = made.document("application/vnd.sylabs.sif.config.v1+json", {})
    chart = made.document("application/vnd.cncf.helm.config.v1+json", {})
    for name, config in (("sif", sif), ("chart", chart)):
        put(open_host, name, made.manifest(config), configs=(config,))
    with pytest.raises(RegistryError, match=r"it is a \.sif, which needs no definition"):
        image_config(f"{open_host}/sif:v1")
    with pytest.raises(RegistryError, match=r"not a container image but has the type application/vnd\.cncf\.helm"):
        image_config(f"{open_host}/chart:v1")
    with pytest.raises(RegistryError, match="has nothing of that name"):
        image_config(f"{open_host}/chart:gone")


def test_credentials_are_found_and_used(basic_host: str, tmp_path: Path) -> None:
    with pytest.raises(AuthenticationError):
        image_config(f"{basic_host}/private:v1")
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text(
        json.dumps({"auths": {basic_host: {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}}})
    )
    with pytest.raises(RegistryError, match="has nothing of that name"):
        image_config(f"{basic_host}/private:v1")


IMAGE = made.manifest(made.config(SAID))


def odd(asked: StatusReport) -> Reply:
    """Answer with another thing than was asked for."""
    typed = {"Content-Type": IMAGE.media_type}
    answers = {
        "/v2/schema1/manifests/v1": Reply(
            200,
            {"Content-Type": "application/vnd.docker.distribution.manifest.v1+prettyjws"},
            b'{"schemaVersion": 1, "fsLayers": []}',
        ),
        "/v2/blob/manifests/v1": Reply(200, typed, IMAGE.content),
        "/v2/huge/manifests/v1": Reply(200, typed, IMAGE.content),
        "/v2/words/manifests/v1": Reply(200, typed, b"hello"),
        "/v2/list/manifests/v1": Reply(200, typed, b"[]"),
        "/v2/nested/manifests/v1": Reply(200, {}, made.index(made.manifest(IMAGE, architecture="amd64")).content),
    }
    if asked.path.startswith("/v2/huge/blobs/"):
        return Reply(200, {}, b" " * (LARGEST_DOCUMENT + 1))
    return answers.get(asked.path, Reply(200, {}, b"{}"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("schema1:v1", "it is in Docker's schema 1"),
        ("blob:v1", "is damaged, or was modified on the way"),
        ("huge:v1", "sent more than 4.19 MB"),
        ("words:v1", "its manifest is not valid JSON"),
        ("list:v1", "its manifest is not a JSON object"),
        ("nested:v1", "is damaged, or was modified on the way"),
        (f"blob:v1@sha256:{'0' * 64}", "has an unexpected manifest"),
    ],
)
def test_an_answer_that_cannot_be_right_is_refused(name: str, words: str) -> None:
    with misbehave(odd) as server, pytest.raises(RegistryError, match=words):
        image_config(f"{server.host}/{name}")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"Cmd": "run"}, "'Cmd' is not a list"),
        ({"Cmd": [1]}, "Cmd is not a list of strings"),
        ({"WorkingDir": 1}, "WorkingDir is not a string"),
        ({"Volumes": ["/data"]}, "Volumes is not a JSON object"),
        ({"Env": ["A=\ud800"]}, "not valid JSON: .*surrogate"),
    ],
)
def test_a_configuration_of_another_shape_is_refused(open_host: str, config: dict[str, object], words: str) -> None:
    document = made.config(config)
    put(open_host, "shapes", made.manifest(document), configs=(document,))
    with pytest.raises(RegistryError, match=words):
        image_config(f"{open_host}/shapes:v1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("python:3.12", Reference(host="docker.io", path="library/python", tag="3.12", scheme="docker")),
        ("me/train", Reference(host="docker.io", path="me/train", scheme="docker")),
        ("docker.io/python", Reference(host="docker.io", path="library/python", scheme="docker")),
        ("docker://ghcr.io/x/y:1", Reference(host="ghcr.io", path="x/y", tag="1", scheme="docker")),
        ("localhost/x", Reference(host="localhost", path="x", scheme="docker")),
        ("localhost:5000/x", Reference(host="localhost:5000", path="x", scheme="docker")),
        ("localhost:5000", Reference(host="docker.io", path="library/localhost", tag="5000", scheme="docker")),
    ],
)
def test_a_name_without_a_registry_is_docker_hubs(text: str, expected: Reference) -> None:
    assert parse_image(text) == expected
    assert parse_image(str(expected)) == expected


@pytest.mark.parametrize("text", ["Python", "ghcr.io/x/y@sha256:1", "oras://ghcr.io/x/y:bad tag", ""])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_image(text)
