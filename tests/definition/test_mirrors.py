"""Base images from a mirror, and from a registry on loopback."""

import pytest

from hpcdeploy.definition.base_images import needs_plain_http, redirect
from hpcdeploy.definition.grammar import read_definition
from hpcdeploy.errors import DefinitionError

TEXT = """Bootstrap: docker
From: ghcr.io/prefix-dev/pixi:noble
Stage: build

%post
cat <<X
From: ghcr.io/prefix-dev/pixi:noble
X

Bootstrap: docker
From: SOURCE
Stage: final
%post
true
"""


def sources(source: str, *mirrors: tuple[str, str]) -> list[str]:
    text = redirect(TEXT.replace("SOURCE", source), mirrors)
    assert text.count("\nFrom: ghcr.io/prefix-dev/pixi:noble\nX\n") == 1
    return [stage.header["from"] for stage in read_definition(text)]


def test_only_headers_are_redirected_and_in_every_stage() -> None:
    mirror = ("ghcr.io", "localhost:5000")
    assert sources("ghcr.io/a/b:1", mirror) == ["localhost:5000/prefix-dev/pixi:noble", "localhost:5000/a/b:1"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("ubuntu:24.04", "m.example.org/hub/library/ubuntu:24.04"),
        ("me/x", "m.example.org/hub/me/x"),
        ("docker.io/me/x", "m.example.org/hub/me/x"),
        ("quay.io/me/x", "quay.io/me/x"),
        ("ghcr.io/special/x", "other.example.org/x"),
        ("ghcr.io.example.org/x", "ghcr.io.example.org/x"),
    ],
)
def test_the_longest_prefix_wins_and_ends_at_a_part_of_the_name(source: str, expected: str) -> None:
    mirrors = (
        ("docker.io", "m.example.org/hub/"),
        ("ghcr.io/special", "other.example.org"),
        ("ghcr.io/prefix-dev", "ghcr.io/prefix-dev"),
        ("ghcr.io", "m.example.org"),
    )
    assert sources(source, *mirrors)[1] == expected


@pytest.mark.parametrize(
    ("host", "plain"),
    [
        ("localhost:5000", True),
        ("127.0.0.1:5000", True),
        ("[::1]:5000", True),
        ("ghcr.io", False),
        ("localhost.example.org", False),
    ],
)
def test_only_a_registry_on_loopback_is_asked_without_tls(host: str, plain: bool) -> None:
    text = redirect(TEXT.replace("SOURCE", "ghcr.io/x"), (("ghcr.io", host),))
    assert needs_plain_http(text) is plain


def test_a_loopback_registry_beside_another_one_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"docker\.io, localhost:5000"):
        needs_plain_http(redirect(TEXT.replace("SOURCE", "ubuntu"), (("ghcr.io", "localhost:5000"),)))
