import pytest

from hpcdeploy.environments.spack import read_environment
from hpcdeploy.environments.spack_container import Container
from hpcdeploy.errors import EnvironmentFileError


def read(body: str) -> Container:
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    container = read_environment(f"spack:\n  container:\n{lines}\n").container
    assert container is not None
    return container


def test_images_by_name_and_all_that_stands_beside_them() -> None:
    assert read(
        "format: docker\n"
        "images: {build: custom/cuda:13, final: nvidia/cuda:13}\n"
        "strip: false\n"
        "os_packages: {command: apt, update: false, build: [git], final: [libgomp1, file]}\n"
        "labels: {app: demo}\n"
        "singularity: {test: demo --version, runscript: demo}"
    ) == Container(
        build="custom/cuda:13",
        final="nvidia/cuda:13",
        strip=False,
        manager="apt",
        update=False,
        build_packages=("git",),
        final_packages=("libgomp1", "file"),
        labels=(("app", "demo"),),
        test="demo --version",
        unused=("singularity.runscript",),
    )


def test_images_by_operating_system() -> None:
    assert read("images: {os: 'almalinux:9', spack: 1.1.0}") == Container(
        build="docker.io/spack/almalinux9:1.1.0", final="quay.io/almalinuxorg/almalinux:9", manager="dnf_epel"
    )


def test_binaries_are_stripped_where_nothing_else_is_said_as_by_spack_itself() -> None:
    assert read("format: singularity").strip


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("images: {build: a}", "set both, as Spack requires"),
        ("images: {os: 'ubuntu:26.10', spack: 1.1.0}", "did you mean 'ubuntu:2[0-9].04'"),
        ("images: {os: 'ubuntu:24.04', spack: {ref: develop}}", "does not download Spack from git"),
        ("images: {os: 'ubuntu:24.04'}", "a release such as"),
        ("image: {}", "did you mean 'images'"),
        ("os_packages: {command: pacman}", "os_packages.command is 'pacman'"),
        ("strip: maybe", "expected true or false"),
        ("extra_instructions: {final: RUN x}", "write them as shell lines in the image's 'setup'"),
    ],
)
def test_what_is_not_understood_is_said(body: str, words: str) -> None:
    with pytest.raises(EnvironmentFileError, match=words):
        read(body)
