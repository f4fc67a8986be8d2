"""Versions, and what each can do."""

import pytest

from hpcdeploy.apptainer.client import check_version, parse_version
from hpcdeploy.errors import BuildError


@pytest.mark.parametrize(
    ("text", "program", "numbers"),
    [
        ("apptainer version 1.4.5", "apptainer", (1, 4, 5)),
        ("apptainer version 1.3.6-1.el9\n", "apptainer", (1, 3, 6)),
        ("singularity-ce version 4.1.0", "singularity-ce", (4, 1, 0)),
        ("WARNING: x\nsingularity version 3.8.7", "singularity", (3, 8, 7)),
    ],
)
def test_the_version_is_read_from_what_the_program_says(text: str, program: str, numbers: tuple[int, ...]) -> None:
    version = parse_version(text)
    assert (version.program, version.numbers) == (program, numbers)


def test_another_program_is_not_taken_for_apptainer() -> None:
    with pytest.raises(BuildError, match="check that the program is Apptainer"):
        parse_version("git version 2.47")


def test_a_bootstrap_agent_of_a_newer_version_is_named() -> None:
    headers = [{"bootstrap": "dnf"}, {"bootstrap": "buildkit"}, {"bootstrap": "dnf"}]
    with pytest.raises(BuildError) as caught:
        check_version(parse_version("apptainer version 1.3.6"), headers=headers)
    assert str(caught.value).startswith(
        "apptainer 1.3.6 does not support 'Bootstrap: dnf' (apptainer 1.4.0, singularity-ce 4.3.0,"
    )
    assert str(caught.value).count("'Bootstrap: dnf'") == 1
    assert "'Bootstrap: buildkit' (apptainer 1.5.0 or later)" in str(caught.value)
    check_version(parse_version("apptainer version 1.5.3"), headers=headers)


@pytest.mark.parametrize("text", ["apptainer version 1.2.0", "apptainer version 1.5.1", "singularity-ce version 4.0.0"])
def test_versions_with_build_arguments_are_taken(text: str) -> None:
    check_version(parse_version(text))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("apptainer version 1.1.9", "require Apptainer 1.2"),
        ("singularity-ce version 3.11.0", "SingularityCE 4.0"),
        ("singularity version 3.8.7", "load or install a newer one"),
        ("apptainer version 1.5.0", "damaged images"),
    ],
)
def test_versions_that_cannot_or_should_not_build_are_refused(text: str, words: str) -> None:
    with pytest.raises(BuildError, match=words):
        check_version(parse_version(text))


def test_an_empty_argument_needs_1_2_4() -> None:
    check_version(parse_version("apptainer version 1.2.4"), empty_argument=True)
    with pytest.raises(BuildError, match="does not accept an empty build argument"):
        check_version(parse_version("apptainer version 1.2.3"), empty_argument=True)
