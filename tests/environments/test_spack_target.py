"""The lock file, and the choice of the target."""

import json
from collections.abc import Mapping

import pytest
import yaml

from hpcdeploy.environments.spack_lock import SpackLock, read_lock
from hpcdeploy.environments.spack_packages import Packages, read_packages
from hpcdeploy.environments.spack_target import DEFAULT_TARGET, Target, choose_target
from hpcdeploy.environments.spack_yaml import load
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


def test_what_included_environments_lock_is_locked_too() -> None:
    top = json.loads(lock_text(ZLIB))
    top["include_concrete"] = {
        "/a": {"concrete_specs": {"h": RAY}, "include_concrete": {"/b": {"concrete_specs": {"i": CC}}}}
    }
    found = read_lock(json.dumps(top))
    assert (found.targets, set(found.namespaces)) == (("x86_64_v3", "zen4"), {"zlib", "py-ray", "gcc"})


def test_flags_and_versions_that_move_are_told_of_what_is_locked() -> None:
    """Spack 1.0 and later lock a branch's commit as a variant, which spack/spack#51237 shows in 1.0.1."""
    nodes = (
        {"name": "zlib", "version": "1.3", "parameters": {"cflags": ["-O2", "-march=native"]}},
        {"name": "hdf5", "version": "develop", "parameters": {"commit": "ab" * 20}},
        {"name": "root", "version": "master", "parameters": {}},
        {"name": "mine", "version": "main", "parameters": {"dev_path": "/x"}},
        {"name": "other", "version": f"git.{'ab' * 20}=1.2"},
    )
    found = read_lock(lock_text(*nodes))
    assert (found.flags, found.moving) == ((("-march=native", "zlib.cflags"),), ("root@master",))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not valid JSON"),
        ("[]", "expected a table"),
        ("{}", "has version None"),
        (lock_text(ZLIB, version=3), "has version 3; expected 4 or later"),
        (lock_text(), "locks no package"),
    ],
)
def test_a_lock_file_that_cannot_be_used_is_said(text: str, words: str) -> None:
    with pytest.raises(EnvironmentFileError, match=words):
        read_lock(text)


def packages(text: str) -> Packages:
    return read_packages(load(f"packages: {text}" if text else "{}", "packages.yaml"), "packages.yaml")


def choose(
    wanted: str = "",
    *files: str,
    lock: SpackLock | None = None,
    specs: tuple[str, ...] = (),
    groups: tuple[str, ...] = (),
) -> Target:
    return choose_target(wanted, [packages(text) for text in files], lock, specs=specs, groups=groups)


def option(target: str, package: str = "all") -> str:
    return f"packages:{package}:require:[target={target}]"


def test_nobody_says_anything() -> None:
    assert choose() == Target(
        name=DEFAULT_TARGET, source="the default: nothing names a target", options=(option(DEFAULT_TARGET),)
    )


@pytest.mark.parametrize("word", ["native", "host", "native:", ":host", "zen44", "x86-64-v3", "Zen4", "fe", "-"])
@pytest.mark.parametrize(
    ("said", "key"),
    [
        ("{all: {require: 'target=WORD'}}", "packages.all.require"),
        ("{all: {require: [{any_of: [target=zen4, 'arch=linux-rocky9-WORD']}]}}", "packages.all.require"),
        ("{all: {target: [zen4, 'WORD']}}", "packages.all"),
        ("{all: {prefer: ['target=WORD']}}", "packages.all"),
        ("{hdf5: {require: ['+mpi target=WORD']}}", "packages.hdf5.require"),
    ],
)
def test_a_word_that_names_no_microarchitecture_is_refused_with_its_key(said: str, key: str, word: str) -> None:
    """``native`` is the machine that compiles: the image would be for the builder's processor, under that label."""
    name = word.strip(":")
    with pytest.raises(
        EnvironmentFileError, match=rf"packages\.yaml: {key} has the microarchitecture '{name}', .*expected one of"
    ):
        packages(said.replace("WORD", word))


@pytest.mark.parametrize("word", ["native", "zen44"])
def test_a_spec_whose_target_is_no_microarchitecture_is_refused(word: str) -> None:
    with pytest.raises(EnvironmentFileError, match=f"specs has the microarchitecture '{word}'"):
        choose(specs=(f"hdf5 target={word}",))


@pytest.mark.parametrize("foreign", ["aarch64", "neoverse_v2:", "power9le", "i686", "m1"])
def test_a_target_of_another_family_is_refused(foreign: str) -> None:
    words = "but the image is built for linux/amd64; expected one of the family x86_64"
    for said in (f"{{all: {{require: 'target={foreign}'}}}}", f"{{all: {{target: ['{foreign}']}}}}"):
        with pytest.raises(EnvironmentFileError, match=f"packages.all.* {words}"):
            choose("", said)
    with pytest.raises(EnvironmentFileError, match=f"packages.hdf5.require has the microarchitecture .* {words}"):
        choose("", f"{{hdf5: {{require: 'target={foreign}'}}}}")
    with pytest.raises(EnvironmentFileError, match=f"spack.yaml: specs has .* {words}"):
        choose(specs=(f"zlib target={foreign}",))


def test_of_targets_for_several_machines_those_of_the_image_s_family_count() -> None:
    assert choose("", "{all: {target: [neoverse_v2, zen4]}}").name == "zen4"
    either = choose("", "{all: {require: [{one_of: [target=neoverse_v2, target=zen4]}]}}")
    assert (either.name, either.options) == ("zen4", ())
    when = "{hdf5: {require: [{spec: target=neoverse_v2, when: 'platform=darwin'}]}}"
    assert choose("", when).name == DEFAULT_TARGET


def test_a_lock_file_for_another_family_is_refused() -> None:
    node = {"name": "zlib", "version": "1.3", "arch": {"target": "neoverse_v2"}}
    with pytest.raises(EnvironmentFileError, match=r"spack\.lock has the microarchitecture 'neoverse_v2'"):
        choose(lock=read_lock(lock_text(node)))


def test_the_settings_win_over_spack_yaml() -> None:
    assert choose("zen4") == Target(name="zen4", source="the image's settings", options=(option("zen4"),))
    assert choose("zen4", "{all: {require: [target=zen3]}}").options == ("packages:all:require::[target=zen4]",)
    assert choose("zen4", "{all: {require: [+mpi target=zen3]}}").options == ("packages:all:require::[+mpi, target=zen4]",)
    assert choose("zen4", "{all: {target: [zen3]}}").options == (option("zen4"),)


@pytest.mark.parametrize(
    ("said", "name", "where"),
    [
        ("{all: {require: target=zen3}}", "zen3", "packages.all.require"),
        ("{all: {require: [+mpi, '%gcc target=zen3']}}", "zen3", "packages.all.require"),
        ("{all: {require: [arch=linux-rocky9-zen3]}}", "zen3", "packages.all.require"),
        ("{all: {require: [{spec: target=zen3}]}}", "zen3", "packages.all.require"),
        ("{all: {require: [{one_of: [target=zen3, target=zen4]}]}}", "zen3, zen4", "packages.all.require"),
        ("{all: {require: [{any_of: [target=zen3]}], target: [zen5]}}", "zen3", "packages.all.require"),
    ],
)
def test_what_spack_yaml_requires_is_followed_and_nothing_is_added(said: str, name: str, where: str) -> None:
    assert choose("", said) == Target(name=name, source=f"spack.yaml: {where}")
    if ", " not in name:
        assert choose(name, said).options == ()


def test_a_preference_names_the_target_which_then_is_required() -> None:
    """Spack takes a preference for one thing among others: what a cache holds for another target would be reused."""
    found = Target(name="x86_64", source="spack.yaml: preferred in packages.all", options=(option("x86_64"),))
    assert choose("", "{all: {target: [x86_64]}}") == found
    assert choose("", "{all: {target: [x86_64, zen4]}}", "{all: {target: [zen5]}}") == found
    assert choose("", "{all: {prefer: [+cuda, target=x86_64]}}") == found
    assert choose("", "{all: {prefer: [{spec: target=x86_64, when: '%gcc'}]}}") == found


@pytest.mark.parametrize(
    ("range_", "name"), [("x86_64_v2:", "x86_64_v2"), (":x86_64_v4", "x86_64_v4"), ("x86_64_v2:x86_64_v3", "x86_64_v3")]
)
def test_of_a_range_one_end_is_required_since_spack_would_take_the_builder_s_best(range_: str, name: str) -> None:
    found = choose("", f"{{all: {{require: ['target={range_}']}}}}")
    assert found == Target(name=name, source=f"spack.yaml: packages.all.require has {range_}", options=(option(name),))
    assert choose("", f"{{all: {{require: 'target={range_}'}}}}").options == (f"packages:all:require::[target={name}]",)
    assert choose("", "{all: {require: ['target=:']}}").name == DEFAULT_TARGET


def test_specs_name_the_target_of_everything_else_too() -> None:
    one = choose(specs=("zlib target=zen3", "hdf5"))
    assert (one.name, one.source, one.options) == ("zen3", "spack.yaml: specs", (option("zen3"),))
    several = choose("", "{hdf5: {require: +mpi}}", specs=("zlib target=zen3", "hdf5 arch=linux-rocky9-zen4"))
    either = '[{"any_of": ["target=zen3", "target=zen4"]}]'
    assert (several.name, several.pinned) == ("zen3, zen4", ("hdf5",))
    assert several.options == (
        f"packages:all:require:{either}",
        f'packages:hdf5:require::["+mpi", {either[1:]}',
    )
    assert choose(groups=("zen5",)).name == "zen5"
    with pytest.raises(
        EnvironmentFileError, match=r"specs of spack.yaml have the target zen3, but the image's target is zen4"
    ):
        choose("zen4", specs=("zlib target=zen3",))


def test_what_is_included_under_a_condition_counts_where_nothing_else_names_a_target() -> None:
    some = [packages("{all: {require: [target=zen4]}, hdf5: {require: +mpi}}")]
    found = choose_target("", [], None, conditional=some)
    assert found == Target(
        name="zen4", source="spack.yaml: packages.all.require, under a condition", options=(option("zen4"),)
    )
    assert choose_target("", [packages("{all: {target: [zen3]}}")], None, conditional=some).name == "zen3"


def test_other_requirements_are_kept() -> None:
    assert choose("", "{all: {require: [+mpi]}}").options == (option(DEFAULT_TARGET),)  # a list, which Spack joins to theirs
    bare = choose("", "{all: {require: +mpi}}")  # a text, which it would replace
    assert bare.options == (f"packages:all:require::[+mpi, target={DEFAULT_TARGET}]",)


def test_what_spack_would_read_otherwise_on_its_command_line_is_quoted() -> None:
    """From a value that is no key, such as ``["``, Spack reads YAML to the end: ``ConfigPath`` in ``config.py``."""
    assert choose("", "{all: {require: '%gcc@12:'}}").options == (
        f'packages:all:require::["%gcc@12:", "target={DEFAULT_TARGET}"]',
    )
    mixed = choose("zen4", "{all: {require: [target=zen3, {one_of: ['%gcc', '%clang'], message: why}]}}")
    assert mixed.options == ('packages:all:require::[{"one_of": ["%gcc", "%clang"], "message": "why"}, "target=zen4"]',)


@pytest.mark.parametrize(
    "spec",
    [
        *("@1.14", "@1.14: +mpi", "%gcc@12", "~mpi", "+mpi~cxx", "^zlib@1.3", "build_type=Release", "languages='c,c++'"),
        *('cflags="-O2 -g"', "/abcdef", "++mpi", "?x", "patches=a,b", "^[virtuals=mpi] openmpi", "-mpi", "@=1.2"),
    ],
)
def test_what_was_required_is_read_back_as_it_was(spec: str) -> None:
    """Judge: PyYAML for the value, as Spack has it; and only a value that is no key may hold a colon before it."""
    [all_, own] = choose("", json.dumps({"hdf5": {"require": spec}})).options
    path, bracket, value = own.partition("[")
    assert (path, all_) == ("packages:hdf5:require::", option(DEFAULT_TARGET))
    assert yaml.safe_load(bracket + value) == [spec, f"target={DEFAULT_TARGET}"]
    assert ":" not in value or value.startswith('"')


def test_a_choice_among_targets_cannot_be_made_another_from_outside() -> None:
    with pytest.raises(EnvironmentFileError, match="use a list with the entry 'target=zen4'"):
        choose("zen4", "{all: {require: [{one_of: [target=zen3, target=zen2]}]}}")


def test_packages_with_requirements_of_their_own_get_the_target_too() -> None:
    """Spack puts them in place of those of ``all``: ``_raw_yaml_data`` in ``lib/spack/spack/solver/requirements.py``."""
    found = choose("", "{all: {require: [target=zen3]}, hdf5: {require: [+mpi]}}", "{zlib: {require: '@1.3:'}}")
    assert found.options == (option("zen3", "hdf5"), 'packages:zlib:require::["@1.3:", "target=zen3"]')
    assert found.pinned == ("hdf5", "zlib")


@pytest.mark.parametrize(
    ("said", "own"),
    [
        ("{hdf5: {require: target=zen2}}", (("hdf5", "zen2"),)),
        ("{hdf5: {require: [{any_of: [target=zen2, '@1']}]}}", (("hdf5", "zen2"),)),
        ("{hdf5: {require: target=x86_64_v3}}", ()),
        ("{mpi: {require: openmpi}}", ()),  # a virtual package, whose requirements must name a package
        ("{blas: {require: ['@3']}}", ()),
        ("{mine: {require: [{one_of: [openblas, 'intel-oneapi-mkl']}]}}", ()),
        ("{openmpi: {require: '@5', externals: [{spec: openmpi@5}]}}", ()),  # the system's, which are generic
        ("{hdf5: {require: []}}", ()),  # nothing, so that the requirements of all hold
        ("{hdf5: {variants: +mpi}}", ()),
        ("{llvm: {require: +clang}}", ()),  # which the build image may have
    ],
)
def test_packages_that_cannot_have_the_target_or_name_one_are_left_alone(
    said: str, own: tuple[tuple[str, str], ...]
) -> None:
    found = choose("", said)
    assert (found.options, found.others, found.pinned) == ((option(DEFAULT_TARGET),), own, ())


def test_compilers_that_get_no_target_are_told() -> None:
    assert choose("", "{gcc: {require: '@13'}, llvm: {require: target=zen2}, zlib: {require: +x}}").compilers == ("gcc",)


def test_what_is_locked_is_locked() -> None:
    lock = SpackLock(roots=("zlib",), targets=("zen3",), namespaces={})
    assert choose("", "{all: {require: target=zen4}}", lock=lock) == Target(name="zen3", source="spack.lock")
    assert choose("zen3", lock=lock).options == ()
    with pytest.raises(EnvironmentFileError, match=r"spack.lock is for zen3, but the image's target is zen4"):
        choose("zen4", lock=lock)
