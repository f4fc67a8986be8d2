"""The lock file, and the choice of the target."""

import json
from collections.abc import Mapping

import pytest

from hpcdeploy.environments.spack import Configuration
from hpcdeploy.environments.spack_lock import SpackLock, read_lock
from hpcdeploy.environments.spack_target import DEFAULT_TARGET, Target, choose_target
from hpcdeploy.errors import EnvironmentFileError


def lock_text(*nodes: Mapping[str, object], version: int = 6, roots: tuple[str, ...] = ("zlib",)) -> str:
    return json.dumps(
        {
            "_meta": {"file-type": "spack-lockfile", "lockfile-version": version, "specfile-version": 4},
            "roots": [{"hash": "h0", "spec": spec} for spec in roots],
            "concrete_specs": {f"h{number}": node for number, node in enumerate(nodes)},
        }
    )


ZLIB = {"name": "zlib", "version": "1.3", "namespace": "builtin", "arch": {"target": "x86_64_v3", "platform_os": "rocky9"}}
RAY = {"name": "py-ray", "version": "2.9", "namespace": "me.patches", "arch": {"target": {"name": "zen4"}}}
CC = {"name": "gcc", "version": "13", "namespace": "builtin", "arch": {"target": "x86_64"}, "external": {"path": "/usr"}}


def test_a_lock_file_tells_roots_targets_and_repositories() -> None:
    assert read_lock(lock_text(ZLIB, RAY, CC, roots=("zlib@1.3", "py-ray+default"))) == SpackLock(
        roots=("zlib", "py-ray"),
        targets=("x86_64_v3", "zen4"),
        namespaces={"zlib": "builtin", "py-ray": "me.patches", "gcc": "builtin"},
        systems=("rocky9",),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not valid JSON"),
        ("[]", "a table was expected"),
        ("{}", "of version None"),
        (lock_text(ZLIB, version=3), "of version 3, but 4 or later"),
        (lock_text(), "locks no package"),
    ],
)
def test_a_lock_file_that_cannot_be_used_is_said(text: str, words: str) -> None:
    with pytest.raises(EnvironmentFileError, match=words):
        read_lock(text)


def choose(wanted: str = "", lock: SpackLock | None = None, **words: object) -> Target:
    return choose_target(wanted, [Configuration(**words)], lock)  # type: ignore[arg-type]


def option(target: str) -> str:
    return f"packages:all:require:[target={target}]"


def test_nobody_says_anything() -> None:
    assert choose() == Target(
        name=DEFAULT_TARGET, said_by="the default: nothing names a target", option=option(DEFAULT_TARGET)
    )


def test_the_settings_win_over_spack_yaml() -> None:
    assert choose("zen4") == Target(name="zen4", said_by="the image's settings", option=option("zen4"))
    assert choose("zen4", requirements=("target=zen3",)).option == "packages:all:require::[target=zen4]"
    assert choose("zen4", requirements=("+mpi target=zen3",)).option == "packages:all:require::[+mpi, target=zen4]"


def test_spack_yaml_wins_over_the_default_and_nothing_is_added() -> None:
    assert choose(requirements=("target=zen3",)) == Target(name="zen3", said_by="spack.yaml")
    assert choose(required_choices=("target=zen3", "target=zen4")).name == "zen3, zen4"
    assert choose("zen3", requirements=("target=zen3",)).option == ""


def test_other_requirements_are_kept() -> None:
    assert choose(requirements=("+mpi",)).option == option(DEFAULT_TARGET)  # a list, which Spack joins to theirs
    bare = choose(requirements=("+mpi",), bare_requirement=True)  # a text, which it would replace
    assert bare.option == f"packages:all:require::[+mpi, target={DEFAULT_TARGET}]"


def test_what_cannot_be_said_on_spack_s_command_line_is_refused() -> None:
    with pytest.raises(EnvironmentFileError, match=r"says '%gcc@12:'.*write 'target=x86_64_v3' there"):
        choose(requirements=("%gcc@12:",), bare_requirement=True)
    with pytest.raises(EnvironmentFileError, match="write 'target=zen4' there"):
        choose("zen4", required_choices=("target=zen3",))


def test_what_is_locked_is_locked() -> None:
    lock = SpackLock(roots=("zlib",), targets=("zen3",), namespaces={})
    assert choose(lock=lock, requirements=("target=zen4",)) == Target(name="zen3", said_by="spack.lock")
    assert choose("zen3", lock=lock).option == ""
    with pytest.raises(EnvironmentFileError, match=r"spack.lock is for zen3, but the image's target is zen4"):
        choose("zen4", lock=lock)
