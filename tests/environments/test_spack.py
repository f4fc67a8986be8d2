"""``spack.yaml`` and what it includes, in the forms in which people write them."""

import pytest

from hpcdeploy.environments.spack import (
    Configuration,
    Mirror,
    Reference,
    SpackEnvironment,
    read_configuration,
    read_environment,
)
from hpcdeploy.errors import EnvironmentFileError


def read(body: str) -> SpackEnvironment:
    lines = "\n".join(f"  {line}" for line in body.strip("\n").splitlines())
    return read_environment(f"spack:\n{lines}\n")


def said(body: str) -> Configuration:
    return read(body).configuration


def test_an_environment_may_say_next_to_nothing() -> None:
    assert read_environment("spack: {}\n") == SpackEnvironment(file="spack.yaml", configuration=Configuration(), roots=())
    assert read("specs: []\nmirrors:\nrepos:\ninclude:\npackages:").configuration == Configuration()


def test_the_names_of_plain_specs_are_known_and_the_rest_is_spack_s_to_expand() -> None:
    body = """
specs:
- "geant4@11"
- 'root@6.24:'
- py-ray ^python@3.11
- builtin.hdf5+mpi
- $compilers
- matrix: [[zlib, bzip2], ["%gcc"]]
"""
    assert read(body).roots == ("geant4", "root", "py-ray", "hdf5")


def test_a_number_is_the_text_that_stands_there() -> None:
    container = read("container: {images: {os: 'ubuntu:24.04', spack: 0.20}}").container
    assert container is not None
    assert container.build == "docker.io/spack/ubuntu-noble:0.20"


def test_keys_of_overriding_and_merging_are_found_under_their_names() -> None:
    found = said("packages::\n  all::\n    require:: [target=zen4]\nrepos::\n- ./own\nspecs+:\n- zlib")
    assert found.requirements == ("target=zen4",)
    assert found.drops_repos
    assert found.references == (Reference(kind="repo", path="./own"),)
    assert not said("repos:\n- ./own").drops_repos


def test_merge_keys_and_anchors_keep_their_meaning() -> None:
    text = "x: &all\n  require: target=zen3\nspack:\n  packages:\n    all:\n      <<: *all\n"
    assert read_environment(text).configuration.requirements == ("target=zen3",)


@pytest.mark.parametrize(
    ("line", "requirements", "choices", "bare"),
    [
        ("require: target=x86_64_v3", ("target=x86_64_v3",), (), True),
        ("require: ['%gcc target=zen4', +mpi]", ("%gcc target=zen4", "+mpi"), (), False),
        ("require: [{one_of: ['%gcc', '%clang']}, {spec: target=zen2}]", (), ("%gcc", "%clang", "target=zen2"), False),
        ("variants: cxxstd=17", (), (), False),
    ],
)
def test_requirements_of_all_packages(
    line: str, requirements: tuple[str, ...], choices: tuple[str, ...], bare: bool
) -> None:
    found = said(f"packages:\n  all:\n    {line}")
    assert (found.requirements, found.required_choices, found.bare_requirement) == (requirements, choices, bare)


def test_packages_with_requirements_of_their_own_and_those_of_the_system_are_told() -> None:
    found = said("packages:\n  hdf5:\n    require: +mpi\n  mpich:\n    externals: [{spec: mpich@4, prefix: /usr}]")
    assert (found.own_requirements, found.externals) == (("hdf5",), ("mpich",))


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
        ("mirrors:\n  m: {url: oci://a/b, access_pair: {id_variable: A}}", "secret_variable were expected"),
        ("mirrors:\n  m: {signed: false}", "has no url"),
        ("include:\n- {when: 'True'}", "without path or git"),
        ("repos:\n  own: {branch: main}", "neither a path nor has git"),
        ("packages: [all]", "a table was expected"),
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
    with pytest.raises(EnvironmentFileError, match="a table was expected"):
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
    assert found.references == (
        Reference(kind="include", path="common.yaml"),
        Reference(kind="include", path="site/packages.yaml"),
        Reference(kind="include", path="../configs/", required=False),
        Reference(kind="include", path="extra.yaml", required=False),
        Reference(kind="include", path="configs"),
        Reference(kind="repo", path="./repos/own"),
        Reference(kind="develop", path="./src/mine"),
        Reference(kind="develop", path="other"),
    )
    assert found.elsewhere == ("/etc/spack/site.yaml", "~/own.yaml", "$spack/x.yaml")


def test_an_included_file_is_read_with_and_without_the_word_spack() -> None:
    for text in ("packages: {all: {require: target=zen3}}", "spack: {packages: {all: {require: target=zen3}}}"):
        assert read_configuration(text, "packages.yaml").requirements == ("target=zen3",)
