from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcdeploy.errors import ConfigError
from hpcdeploy.registry.limits import size_warning
from hpcdeploy.registry.reference import Reference, check_tag, is_loopback, parse_reference

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("oras://ghcr.io/me/train", Reference(host="ghcr.io", path="me/train")),
        ("ghcr.io/me/train:1.2", Reference(host="ghcr.io", path="me/train", tag="1.2")),
        (f"oras://ghcr.io/me/train@{DIGEST}", Reference(host="ghcr.io", path="me/train", digest=DIGEST)),
        (f"ghcr.io/me/train:x@{DIGEST}", Reference(host="ghcr.io", path="me/train", tag="x", digest=DIGEST)),
        ("localhost:5000/a", Reference(host="localhost:5000", path="a")),
        ("localhost/a", Reference(host="localhost", path="a")),
        ("oras://[::1]:5000/a/b:c", Reference(host="[::1]:5000", path="a/b", tag="c")),
        ("GHCR.io/me/my.app_x/y--z", Reference(host="ghcr.io", path="me/my.app_x/y--z")),
        ("docker.io/ubuntu", Reference(host="docker.io", path="library/ubuntu")),
        ("index.docker.io/me/train", Reference(host="docker.io", path="me/train")),
        ("registry-1.docker.io/me/train", Reference(host="docker.io", path="me/train")),
    ],
)
def test_an_address_is_read_whatever_its_form(text: str, expected: Reference) -> None:
    assert parse_reference(text) == expected
    assert parse_reference(str(expected)) == expected


def test_docker_hubs_interface_is_at_another_host_than_its_name() -> None:
    assert parse_reference("docker.io/me/train").endpoint == "registry-1.docker.io"
    assert parse_reference("docker.io/me/train").repository == "docker.io/me/train"
    assert parse_reference("ghcr.io/me/train").endpoint == "ghcr.io"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected oras://"),
        ("oras://", "expected oras://"),
        ("ghcr.io", "expected oras://"),
        ("ghcr.io/", "expected oras://"),
        ("https://ghcr.io/me/train", "without https://"),
        ("me/train", r"docker\.io/me/train"),
        ("ghcr.io/Me/Train", "write me/train"),
        ("ghcr.io/me/train ", "no registry takes"),
        ("ghcr.io/me/train\n", "no registry takes"),
        ("ghcr.io/me//train", "no registry takes"),
        ("ghcr.io/../train", "no registry takes"),
        ("ghcr.io/me/-train", "no registry takes"),
        ("ghcr.io/" + "a" * 256, "at most 255"),
        ("ghcr.io/me/train:", "cannot be a tag"),
        ("ghcr.io/me/train:a b", "cannot be a tag"),
        ("ghcr.io/me/train:x\n", "cannot be a tag"),
        ("ghcr.io/me/train:" + "x" * 129, "1 to 128"),
        ("ghcr.io/me/train@sha256:abc", "64 hexadecimal"),
        ("ghcr.io/me/train@", "64 hexadecimal"),
        (f"ghcr.io/me/train@{DIGEST}\n", "64 hexadecimal"),
        ("user:pw@ghcr.io/me/train", "could exist"),
        ("ghcr.io:0/me/train", "could exist"),
        ("ghcr.io:70000/me/train", "could exist"),
        ("gh cr.io/me/train", "could exist"),
        ("ghcr.io?x/me/train", "could exist"),
    ],
)
def test_nonsense_is_refused_with_what_to_write(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_reference(text)


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_a_configuration_error(text: str) -> None:
    try:
        reference = parse_reference(text)
    except ConfigError:
        return
    assert parse_reference(str(reference)) == reference


@pytest.mark.parametrize("tag", ["a", "1.2.3", "sha-1234567", "_x", "x" * 128])
def test_tags_that_registries_take_pass(tag: str) -> None:
    assert check_tag(tag) == tag


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1:5000", True),
        ("127.8.9.10", True),
        ("[::1]:5000", True),
        ("128.0.0.1", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
        ("evil.localhost", False),
        ("evil.localhost:5000", False),
        ("ghcr.io", False),
    ],
)
def test_loopback_is_this_machine_and_nothing_that_looks_like_it(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_ghcr_warns_above_its_limit_and_nobody_else_does() -> None:
    ghcr, other = parse_reference("ghcr.io/me/train"), parse_reference("registry.example.org/me/train")
    assert "10 GB" in size_warning(ghcr, 10_000_000_001)
    assert size_warning(ghcr, 10_000_000_000) == ""
    assert size_warning(other, 10**12) == ""


def test_the_pure_modules_need_no_library(tmp_path: Path) -> None:
    import subprocess
    import sys

    words = (
        "import sys, hpcdeploy.registry.client, hpcdeploy.tags; print({'oras', 'requests', 'jsonschema'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
