"""Base images become digests, and what is in no key is named."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.architecture import AMD64, ARM64, Architecture
from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import RegistryError
from hpcdeploy.flows.bases import Bases, building_machine, find_bases, with_keys
from hpcdeploy.image import ContextFile, Definition

DIGEST = "sha256:" + "d" * 64


def definition(text: str, files: tuple[ContextFile, ...] = ()) -> Definition:
    return Definition(name="x", text=text, files=files, build_args=(), inputs="a" * 64)


def found(text: str, answer: Callable[[str, str], str], before: dict[str, str] | None = None) -> Bases:
    return find_bases(definition(text), answer, before=before or {})


def refuse(agent: str, source: str) -> str:
    raise RegistryError(f"no {agent} registry for {source}")


def test_each_tag_is_looked_up_once_and_a_digest_is_not_looked_up() -> None:
    queried: list[tuple[str, str]] = []

    def answer(agent: str, source: str) -> str:
        queried.append((agent, source))
        return DIGEST

    text = "".join(
        f"Bootstrap: {agent}\nFrom: {source}\n\n"
        for agent, source in (
            ("docker", "debian:13"),
            ("docker", "debian:13"),
            ("oras", "host/x:1"),
            ("docker", f"host/y@{DIGEST}"),
        )
    )
    bases = found(text, answer)
    assert queried == [("docker", "debian:13"), ("oras", "host/x:1")]
    assert dict(bases.digests) == {"debian:13": DIGEST, "host/x:1": DIGEST, f"host/y@{DIGEST}": DIGEST}
    assert bases.notes == ()


def test_without_a_registry_the_last_digest_counts_and_the_base_is_named() -> None:
    text = "Bootstrap: docker\nFrom: debian:13\n"
    bases = found(text, refuse, {"debian:13": DIGEST})
    assert dict(bases.digests) == {"debian:13": DIGEST}
    assert "debian:13 is that of the last build" in bases.notes[0]
    assert "no docker registry" in bases.notes[0]
    unknown = found(text, refuse)
    assert unknown.digests == ()
    assert "the digest of the base image debian:13 is unknown" in unknown.notes[0]


def test_a_registry_that_names_no_digest_is_named() -> None:
    assert "names no digest" in found("Bootstrap: docker\nFrom: debian:13\n", lambda _agent, _source: "").notes[0]


def test_a_base_that_is_a_file_of_this_machine_is_read_and_one_of_another_machine_is_named(tmp_path: Path) -> None:
    base = tmp_path / "base.sif"
    base.write_bytes(b"one")
    text = f"Bootstrap: localimage\nFrom: {base}\n"
    one = find_bases(definition(text), refuse, before={})
    base.write_bytes(b"another")
    assert one.notes == ()
    assert one.digests != find_bases(definition(text), refuse, before={}).digests
    assert "is in no key" in find_bases(definition(text), refuse, before={}, here=False).notes[0]


def test_a_base_among_the_staged_files_has_its_checksum_there() -> None:
    file = ContextFile(source=Path("base.sif"), staged="base.sif", mode=0o644, sha256="b" * 64)
    for source in ("base.sif", "./base.sif"):
        text = f"Bootstrap: localimage\nFrom: {source}\n"
        assert find_bases(definition(text, (file,)), refuse, before={}) == Bases()


@pytest.mark.parametrize(
    ("agent", "named"),
    [("library\nFrom: alpine", "library alpine"), ("debootstrap\nMirrorURL: http://x\nOSVersion: trixie", "debootstrap")],
)
def test_a_base_that_cannot_be_resolved_is_named(agent: str, named: str) -> None:
    assert f"the base of {named} is downloaded anew" in found(f"Bootstrap: {agent}\n", refuse).notes[0]


def test_an_empty_base_needs_no_digest() -> None:
    assert found("Bootstrap: scratch\n", refuse) == Bases()


@pytest.mark.parametrize(
    ("script", "program"),
    [
        ("apt-get -qy install git", "apt-get"),
        ("true && sudo apt update", "apt"),
        ("DEBIAN_FRONTEND=noninteractive apt-get install -y x", "apt-get"),
        ("/usr/bin/curl -fsSL https://example.org/install.sh | sh", "curl"),
        ("(cd /opt; git clone https://example.org/x)", "git"),
        ("python3 -m pip install x", "pip"),
        ("if true; then uv pip install x; fi", "uv"),
        ("pip install \\\n  x", "pip"),
        ("run 'wget https://example.org/x'", "wget"),
    ],
)
def test_a_command_that_downloads_is_named(script: str, program: str) -> None:
    text = f"Bootstrap: docker\nFrom: x@{DIGEST}\n\n%post\n    {script}\n"
    assert f"download with {program};" in found(text, refuse).notes[0]


@pytest.mark.parametrize(
    "script", ["# curl x", "echo apt-get install x", "git status", "pip --version", "apt-get clean", "touch /opt/curl"]
)
def test_other_commands_are_not_named(script: str) -> None:
    assert found(f"Bootstrap: docker\nFrom: x@{DIGEST}\n\n%post\n    {script}\n", refuse).notes == ()


def test_keys_hold_the_digests_of_used_bases_only_and_the_former_inputs_stay() -> None:
    plain = definition("Bootstrap: docker\nFrom: debian:13\n")
    keyed = with_keys(plain, (("debian:13", DIGEST), ("other", DIGEST)), machine="x86_64")
    assert (keyed.bases, keyed.former, keyed.key_architecture) == ((("debian:13", DIGEST),), "a" * 64, "amd64")
    assert len({keyed.inputs, keyed.environment, plain.inputs}) == 3
    assert with_keys(keyed, keyed.bases, machine="amd64") == keyed
    moved = with_keys(plain, (("debian:13", DIGEST.replace("d", "e")),), machine="x86_64")
    assert moved.inputs != keyed.inputs
    assert with_keys(replace(plain, name="y"), keyed.bases, machine="x86_64").inputs == keyed.inputs


def test_the_architecture_of_an_image_is_in_its_key_and_counts_before_that_of_the_machine() -> None:
    plain = definition("Bootstrap: docker\nFrom: debian:13\n")
    wanted = replace(plain, architecture=ARM64)
    keyed = {name: with_keys(plain, (), machine=name) for name in ("x86_64", "aarch64", "ppc64le")}
    assert [one.key_architecture for one in keyed.values()] == ["amd64", "arm64", "ppc64le"]
    assert len({one.environment for one in keyed.values()}) == 3
    assert all(one.architecture is None for one in keyed.values())
    for machine in ("x86_64", "aarch64", "arm64"):
        arm = with_keys(wanted, (), machine=machine)
        assert (arm.inputs, arm.architecture) == (keyed["aarch64"].inputs, ARM64)


@pytest.mark.parametrize(
    ("platform", "machine"),
    [
        ((), "x86_64"),
        ((("", (ARM64,)),), "aarch64"),
        ((("gpu", (ARM64,)), ("cpu", (ARM64,))), "aarch64"),
        ((("gpu", (ARM64,)), ("", (AMD64,))), "x86_64"),
    ],
)
def test_a_login_node_has_the_only_processor_of_its_cluster(
    platform: tuple[tuple[str, tuple[Architecture, ...]], ...], machine: str
) -> None:
    assert building_machine(Cluster(name="one", platform=platform)) == machine
    assert not building_machine(None)
