"""Builds for another processor: refused before anything is done, unless the kernel starts its programs in an emulator."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.apptainer.build_record import read_image, read_record
from hpcdeploy.apptainer.build_script import building
from hpcdeploy.apptainer.client import check_version, parse_version
from hpcdeploy.apptainer.emulation import needs_emulator
from hpcdeploy.apptainer.sif import architecture_in, read_sif
from hpcdeploy.architecture import AMD64, ARCHITECTURES, ARM64, Architecture, of_machine
from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import BuildError
from hpcdeploy.flows.build import LocalBuilds, build_here
from hpcdeploy.image import Definition
from tests.apptainer.sifs import partition, sif, squashfs

HERE = of_machine(os.uname().machine)
OTHER = next(one for one in ARCHITECTURES if one != HERE)
PROGRAM = """#!/bin/sh
case $1 in
--version) echo apptainer version 1.4.5 ;;
build) echo "$*" >>"{log}"; for word; do case $word in *.part) cp "{image}" "$word" ;; esac; done ;;
exec) echo HPCDEPLOY_BEGUN ;;
esac
"""


def definition(architecture: Architecture | None) -> Definition:
    return Definition(
        name="x",
        text="Bootstrap: docker\nFrom: debian\n",
        files=(),
        build_args=(),
        inputs="ab" * 32,
        architecture=architecture,
    )


def image_for(code: bytes) -> bytes:
    return sif(partition(squashfs(), architecture=code), architecture=code)


@pytest.fixture
def builds(tmp_path: Path) -> LocalBuilds:
    program, image = tmp_path / "apptainer", tmp_path / "made"
    image.write_bytes(image_for(b"04\0"))
    program.write_text(PROGRAM.format(log=tmp_path / "log", image=image))
    program.chmod(0o755)
    return LocalBuilds(program=str(program), work=tmp_path / "work")


def test_a_build_here_for_another_processor_is_refused_before_it_starts(builds: LocalBuilds, tmp_path: Path) -> None:
    assert HERE
    remedies = rf'--on CLUSTER.*; for an image for this machine, set platform = "{HERE.subdir}" in the image'
    with pytest.raises(BuildError, match=rf"is for {OTHER.platform} .* but this machine is .*{remedies}"):
        build_here(definition(OTHER), tmp_path / "x.sif", builds, is_recorded=lambda _: True)
    assert not (tmp_path / "log").exists()
    assert not (tmp_path / "x.sif").exists()


@pytest.mark.parametrize("wanted", [None, HERE])
def test_the_record_has_the_architecture_in_the_header(
    builds: LocalBuilds, tmp_path: Path, wanted: Architecture | None
) -> None:
    built = build_here(definition(wanted), tmp_path / "x.sif", builds, is_recorded=lambda _: True)
    assert built.architecture == "arm64"
    assert "--arch" not in (tmp_path / "log").read_text()
    assert read_record(tmp_path / "x.sif") == built


def test_an_emulator_is_used_if_the_kernel_knows_one(builds: LocalBuilds, tmp_path: Path) -> None:
    (tmp_path / f"qemu-{OTHER.machine}").write_text("enabled\ninterpreter /usr/bin/qemu\n")
    emulating = replace(builds, handlers=tmp_path)
    build_here(definition(OTHER), tmp_path / "x.sif", emulating, is_recorded=lambda _: True)
    assert f"--arch {OTHER.name} " in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("wanted", "machine", "handler", "expected"),
    [
        (None, "x86_64", "", False),
        (AMD64, "x86_64", "", False),
        (ARM64, "aarch64", "", False),
        (ARM64, "arm64", "", False),
        (ARM64, "x86_64", "enabled\n", True),
        (ARM64, "x86_64", "disabled\n", None),
        (ARM64, "x86_64", "", None),
        (AMD64, "ppc64le", "", None),
    ],
)
def test_whether_an_emulator_is_needed(
    tmp_path: Path, wanted: Architecture | None, machine: str, handler: str, expected: bool | None
) -> None:
    if handler:
        (tmp_path / "qemu-aarch64").write_text(handler)
    if expected is None:
        with pytest.raises(BuildError, match="but this machine is"):
            needs_emulator(wanted, machine, tmp_path)
    else:
        assert needs_emulator(wanted, machine, tmp_path) is expected


@pytest.mark.parametrize("text", ["apptainer version 1.3.6", "singularity-ce version 4.1.0"])
def test_an_apptainer_without_the_option_is_refused(text: str) -> None:
    check_version(parse_version(text))
    with pytest.raises(BuildError, match=r"another processor \(Apptainer 1\.4 does\)"):
        check_version(parse_version(text), emulated=True)
    check_version(parse_version("apptainer version 1.4.0"), emulated=True)


@pytest.mark.parametrize(
    ("wanted", "machine", "code"),
    [(AMD64, "x86_64", 0), (ARM64, "aarch64", 0), (ARM64, "x86_64", 10), (AMD64, "aarch64", 10), (None, "aarch64", 0)],
)
def test_a_login_node_with_another_processor_asks_for_no_files(
    tmp_path: Path, wanted: Architecture | None, machine: str, code: int
) -> None:
    (tmp_path / "bin").mkdir()
    uname = tmp_path / "bin" / "uname"
    uname.write_text(f"#!/bin/sh\necho {machine}\n")
    uname.chmod(0o755)
    cluster = Cluster(
        name="c", host="h", root=str(tmp_path / "root"), apptainer="cat", setup=(f"PATH={tmp_path}/bin:$PATH",)
    )
    script = building(definition(wanted), cluster, context_sha256="").replace('"$apptainer" --version', "echo apptainer")
    done = subprocess.run(["bash", "-s"], input=script, text=True, capture_output=True, check=False)
    assert done.returncode == code, done.stderr
    assert ('"state": "context"' in done.stdout) == (code == 0)
    if code and wanted:
        assert f"the image is for {wanted.platform} ({wanted.machine}), but this login node is {machine}" in done.stderr
        assert f'set platform = "linux/{machine}" in the image\'s settings' in done.stderr


@pytest.mark.parametrize(("code", "name"), [(b"02\0", "amd64"), (b"04\0", "arm64"), (b"99\0", "")])
def test_the_head_of_an_image_has_its_architecture(tmp_path: Path, code: bytes, name: str) -> None:
    content = image_for(code)
    assert architecture_in(content[:48]) == name
    (tmp_path / "x.sif").write_bytes(content)
    with (tmp_path / "x.sif").open("rb") as file:
        assert read_sif(file, "x.sif").architecture == (name or "unknown")


@pytest.mark.parametrize("head", [b"", b"x" * 47, b"#!/bin/sh\n".ljust(64)])
def test_a_file_that_is_no_image_has_no_architecture(head: bytes) -> None:
    assert architecture_in(head) == ""


def test_a_record_of_an_earlier_release_has_no_architecture() -> None:
    values = {"name": "x", "sha256": "ab" * 32, "inputs": "cd" * 32, "apptainer": "1.4.5", "created": "c", "size": 5}
    assert read_image(values, "it").architecture == ""
    assert read_image({**values, "architecture": "arm64"}, "it").architecture == "arm64"
    assert read_image({**values, "architecture": 7}, "it").architecture == ""
