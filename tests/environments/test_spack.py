"""``spack.yaml`` and what it includes, in the forms in which people write them."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from hpcdeploy.environments.spack import (
    Configuration,
    SpackEnvironment,
    expanded,
    group_escapes,
    group_targets,
    read_configuration,
    read_environment,
)
from hpcdeploy.environments.spack_packages import requirement_of
from hpcdeploy.environments.spack_references import Reference
from hpcdeploy.environments.spack_yaml import Mirror
from hpcdeploy.errors import EnvironmentFileError


def read(body: str) -> SpackEnvironment:
    lines = "\n".join(f"  {line}" for line in body.strip("\n").splitlines())
    return read_environment(f"spack:\n{lines}\n")


def said(body: str) -> Configuration:
    return read(body).configuration


def bare(references: Iterable[Reference]) -> tuple[Reference, ...]:
    """Return the references without the texts for messages."""
    return tuple(replace(one, key="", written="") for one in references)


def test_an_environment_may_say_next_to_nothing() -> None:
    assert read_environment("spack: {}\n") == SpackEnvironment(file="spack.yaml", configuration=Configuration())
    assert read("specs: ~\nview: null\npackages: null").configuration == Configuration()
    assert read("specs: []\nmirrors:\nrepos:\ninclude:\npackages:").configuration == Configuration()


def test_specs_are_those_of_matrices_and_definitions_too() -> None:
    body = """
specs:
- "geant4@11"
- 'root@6.24:'
- py-ray ^python@3.11
- builtin.hdf5+mpi
- $compilers
- matrix: [[zlib, bzip2], ["%gcc"]]
definitions:
- compilers: [gcc@13]
"""
    environment = read(body)
    roots = expanded(environment, [environment.configuration]).roots
    assert [root.package for root in roots] == ["geant4", "root", "py-ray", "hdf5", "gcc", "zlib", "bzip2"]


def test_a_number_is_the_text_that_stands_there() -> None:
    container = read("container: {images: {os: 'ubuntu:24.04', spack: 0.20}}").container
    assert container is not None
    assert container.build == "docker.io/spack/ubuntu-noble:0.20"


def test_keys_of_overriding_and_merging_are_found_under_their_names() -> None:
    found = said("packages::\n  all::\n    require:: [target=zen4]\nrepos::\n- ./own\nspecs+:\n- zlib")
    requirement = requirement_of([found.packages], "all")
    assert requirement is not None
    assert requirement.targets == ("zen4",)
    assert found.drops_repos
    assert bare(found.references.here) == (Reference(kind="repo", path="./own"),)
    assert not said("repos:\n- ./own").drops_repos


def test_merge_keys_and_anchors_keep_their_meaning() -> None:
    text = "x: &all\n  require: target=zen3\nspack:\n  packages:\n    all:\n      <<: *all\n"
    requirement = requirement_of([read_environment(text).configuration.packages], "all")
    assert requirement is not None
    assert requirement.specs == ("target=zen3",)


@pytest.mark.parametrize(
    ("line", "plain", "choices", "bare"),
    [
        ("require: target=x86_64_v3", ("target=x86_64_v3",), (), True),
        ("require: ['%gcc target=zen4', +mpi]", ("%gcc target=zen4", "+mpi"), (), False),
        ("require: [{one_of: ['%gcc', '%clang']}, {spec: target=zen2}]", (), ("%gcc", "%clang", "target=zen2"), False),
    ],
)
def test_requirements_of_all_packages(line: str, plain: tuple[str, ...], choices: tuple[str, ...], bare: bool) -> None:
    found = requirement_of([said(f"packages:\n  all:\n    {line}").packages], "all")
    assert found is not None
    assert tuple(spec for entry in found.entries if entry.plain for spec in entry.specs) == plain
    assert tuple(spec for entry in found.entries if not entry.plain for spec in entry.specs) == choices
    assert found.bare == bare


@pytest.mark.parametrize(
    ("high", "low", "specs"),
    [
        ("require: [+a]", "require: [+b, +a]", ("+a", "+b")),
        ("require: +a", "require: [+b]", ("+a",)),
        ("require: [+a]", "require: +b", ("+a",)),
        ("require:: [+a]", "require: [+b]", ("+a",)),
        ("variants: +c", "require: [+b]", ("+b",)),
    ],
)
def test_the_requirements_of_several_files_are_put_together_as_spack_does(
    high: str, low: str, specs: tuple[str, ...]
) -> None:
    """Source: ``merge_yaml`` in ``lib/spack/spack/config.py``."""
    files = [said(f"packages:\n  hdf5:\n    {line}").packages for line in (high, low)]
    found = requirement_of(files, "hdf5")
    assert found is not None
    assert found.specs == specs


def test_a_section_that_replaces_lower_ones_hides_their_requirements() -> None:
    low = said("packages:\n  hdf5:\n    require: [+b]").packages
    assert requirement_of([said("packages::\n  zlib:\n    require: [+a]").packages, low], "hdf5") is None
    assert requirement_of([said("packages:\n  hdf5::\n    variants: +a").packages, low], "hdf5") is None
    assert requirement_of([said("packages:\n  hdf5:\n    require: []").packages], "hdf5") is None


def test_packages_of_the_system_are_told() -> None:
    assert said("packages:\n  mpich:\n    externals: [{spec: mpich@4, prefix: /usr}]").externals == ("mpich",)


def test_flags_that_name_a_processor_are_found_wherever_they_stand() -> None:
    found = read("""
specs:
- zlib cflags="-O3 -march=native"
- bzip2 cflags=-O2
packages:
  hdf5: {require: ["fflags='-mtune=native -g'"], variants: +mpi}
  gcc: {externals: [{spec: gcc@13, extra_attributes: {flags: {cxxflags: -march=znver4}}}]}
compilers:
- compiler: {flags: {cflags: -mcpu=neoverse-v2}}
toolchains: {mine: [{spec: cxxflags=-xHost}]}
""").configuration
    assert found.flags == (
        ("-march=native", "specs"),
        ("-mtune=native", "packages.hdf5.require"),
        ("-march=znver4", "packages.gcc.externals.extra_attributes.flags.cxxflags"),
        ("-mcpu=neoverse-v2", "compilers.compiler.flags.cflags"),
        ("-xHost", "toolchains.mine.spec"),
    )


def test_targets_that_groups_of_specs_override_are_told() -> None:
    body = "specs:\n- group: fast\n  specs: [zlib]\n  override: {packages: {all: {require: [target=zen4]}}}\n- zlib"
    assert group_targets(read(body)) == ("zen4",)


@pytest.mark.parametrize(
    ("override", "escapes"),
    [
        ("{all: {require: [+mpi]}}", ()),  # joined to the list that requires the target
        ("{all: {require: +mpi}}", ("fast: all",)),
        ("{all: {require:: [+mpi]}}", ("fast: all",)),
        ("{all: {require: target=zen4}}", ()),
        ("{hdf5: {require: [+mpi]}, mpi: {require: openmpi}}", ("fast: hdf5",)),
        ("{root: {require: [+x]}}", ()),  # which is given the target itself
        ("{root: {require: +x}}", ("fast: root",)),
    ],
)
def test_groups_whose_override_takes_the_place_of_the_target_are_told(override: str, escapes: tuple[str, ...]) -> None:
    """A group's override is above the command line: ``ConfigScopePriority`` in ``lib/spack/spack/enums.py``."""
    body = f"specs:\n- group: fast\n  specs: [zlib]\n  override: {{packages: {override}}}"
    assert group_escapes(read(body), ("root",)) == escapes


@pytest.mark.parametrize(
    ("mirror", "expected"),
    [
        ("https://cache.example.org", Mirror(name="m", url="https://cache.example.org")),
        ("{url: oci://ghcr.io/me/c, signed: false}", Mirror(name="m", url="oci://ghcr.io/me/c", signed=False)),
        (
            "{url: oci://ghcr.io/me/c, access_pair: {id_variable: USER_V, secret_variable: PASS_V}}",
            Mirror(name="m", url="oci://ghcr.io/me/c", variables=("USER_V", "PASS_V")),
        ),
        (
            "{url: oci://ghcr.io/me/c, access_pair: {id: me, secret_variable: PASS_V}}",
            Mirror(name="m", url="oci://ghcr.io/me/c", variables=("PASS_V",)),
        ),
        (
            "{fetch: https://cache.example.org, push: {url: s3://bucket, access_token_variable: TOKEN}}",
            Mirror(name="m", url="s3://bucket", variables=("TOKEN",)),
        ),
        (
            "{fetch: {url: oci://a/b}, push: {url: oci://c/d, access_pair: {id_variable: U, secret_variable: P}}}",
            Mirror(name="m", url="oci://c/d", variables=("U", "P")),
        ),
    ],
)
def test_a_mirror_in_each_of_its_forms(mirror: str, expected: Mirror) -> None:
    assert said(f"mirrors:\n  m: {mirror}").mirrors == (expected,)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("mirrors:\n  m: {url: oci://a/b, access_pair: [me, hunter2]}", "credentials in clear text"),
        ("mirrors:\n  m: {url: oci://a/b, access_token: hunter2}", "credentials in clear text"),
        (
            "mirrors:\n  m: {url: oci://a/b, access_pair: {id_variable: A}}",
            "expected id_variable .or id. and secret_variable",
        ),
        ("mirrors:\n  m: {signed: false}", "has no url"),
        ("include:\n- {when: 'True'}", "without path or git"),
        ("view: {mine: {select: [zlib]}}", "view.mine has no root"),
        ("definitions: [{a: [x], b: [y]}]", "use one name per entry"),
        ("repos:\n  own: {branch: main}", "neither a path nor has git"),
        ("packages: [all]", "expected a table"),
    ],
)
def test_what_is_not_understood_is_said(body: str, words: str) -> None:
    with pytest.raises(EnvironmentFileError, match=words) as caught:
        read(body)
    assert "hunter2" not in str(caught.value)


def test_no_environment_is_said_with_the_reason() -> None:
    with pytest.raises(EnvironmentFileError, match="no top-level key 'spack'"):
        read_environment("packages: {}\n")
    with pytest.raises(EnvironmentFileError, match=r"spack\.yaml, line 3: not valid YAML"):
        read_environment("spack:\n  specs: [a\n")
    with pytest.raises(EnvironmentFileError, match="expected a table"):
        read_environment("- spack\n")


def test_included_files_repositories_and_sources_under_development() -> None:
    found = said("""
include:
- common.yaml
- $env/site/packages.yaml
- path: ../configs/
  when: os == "ubuntu24.04"
- {path: extra.yaml, optional: true}
- configs/$os/packages.yaml
- https://example.org/packages.yaml
- {git: "https://example.org/configs.git", paths: [a.yaml]}
- /etc/spack/site.yaml
- ~/own.yaml
- $spack/x.yaml
repos:
  own: ./repos/own
  far: {git: "https://example.org/repo.git"}
develop:
  mine: {spec: mine@main, path: ./src/mine}
  other: {spec: other@main}
""")
    assert bare(found.references.here) == (
        Reference(kind="include", path="common.yaml"),
        Reference(kind="include", path="site/packages.yaml"),
        Reference(kind="include", path="../configs/", required=False, when='os == "ubuntu24.04"'),
        Reference(kind="include", path="extra.yaml", required=False),
        Reference(kind="include", path="configs", when="the path is configs/$os/packages.yaml"),
        Reference(kind="repo", path="./repos/own"),
        Reference(kind="develop", path="./src/mine"),
        Reference(kind="develop", path="other"),
    )
    assert found.references.elsewhere == ("/etc/spack/site.yaml", "~/own.yaml", "$spack/x.yaml")
    assert found.references.fetched == ("https://example.org/packages.yaml", "https://example.org/configs.git")
    assert found.references.moving == (
        "https://example.org/packages.yaml (without sha256)",
        "https://example.org/configs.git (its default branch)",
        "https://example.org/repo.git (its default branch)",
    )


@pytest.mark.parametrize(
    ("entry", "moving"),
    [
        (
            "{git: 'https://me:hunter2@example.org/c.git', branch: main, paths: [a]}",
            "https://example.org/c.git (branch main)",
        ),
        ("{git: 'https://example.org/c.git', commit: abc, paths: [a]}", ""),
        ("{git: 'https://example.org/c.git', tag: v1, paths: [a]}", ""),
        ("{path: 'https://example.org/a.yaml?token=hunter2', sha256: abc}", ""),
    ],
)
def test_what_is_fetched_moves_unless_a_commit_tag_or_checksum_fixes_it(entry: str, moving: str) -> None:
    references = said(f"include:\n- {entry}").references
    assert references.moving == ((moving,) if moving else ())
    assert "hunter2" not in str(references)


def test_an_environment_whose_packages_are_reused_is_elsewhere() -> None:
    body = "concretizer: {reuse: {from: [{type: local}, {type: environment, path: $HOME/base}]}}"
    assert said(body).references.elsewhere == ("$HOME/base",)
    assert not said("concretizer: {reuse: true}").references.elsewhere


def test_another_environment_s_lock_file_is_a_reference_to_its_folder() -> None:
    found = said("include: [../base/spack.lock]\ninclude_concrete: [../other, named, /abs/env]").references
    assert found.here == (
        Reference(kind="concrete", path="../base", key="include", written="../base/spack.lock"),
        Reference(kind="concrete", path="../other", key="include_concrete", written="../other"),
    )
    assert found.elsewhere == ("named", "/abs/env")


def test_an_included_file_is_read_with_and_without_the_word_spack() -> None:
    for text in ("packages: {all: {require: target=zen3}}", "spack: {packages: {all: {require: target=zen3}}}"):
        requirement = requirement_of([read_configuration(text, "packages.yaml").packages], "all")
        assert requirement is not None
        assert requirement.targets == ("zen3",)
