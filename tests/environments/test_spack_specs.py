"""The list ``specs`` expanded as Spack expands it, the versions in it that move, and the views of several files."""

import pytest

from hpcdeploy.environments.inventory import root_items
from hpcdeploy.environments.spack_references import moving_versions
from hpcdeploy.environments.spack_specs import LIMIT, SpecList, constraint_of, expand_specs, package_of, read_definitions
from hpcdeploy.environments.spack_view import ViewPlan, plan_views, read_view
from hpcdeploy.environments.spack_yaml import listed, load
from hpcdeploy.errors import EnvironmentFileError


def expand(text: str) -> SpecList:
    given = load(text, "spack.yaml")
    definitions = read_definitions(given.get("definitions"), "definitions")
    return expand_specs(listed(given.get("specs"), "specs"), definitions, "spack.yaml: spack.specs")


def specs(text: str) -> list[str]:
    return [root.spec for root in expand(text).roots]


def test_a_matrix_is_the_product_of_its_rows() -> None:
    text = "specs: [{matrix: [[hdf5, zlib], ['%gcc', '%clang'], [+x]]}]"
    assert specs(text) == ["hdf5 %gcc +x", "hdf5 %clang +x", "zlib %gcc +x", "zlib %clang +x"]


def test_definitions_are_put_in_with_their_sign_and_may_name_others() -> None:
    text = """
definitions:
- mpis: [openmpi@5, mpich]
- compilers: ['%gcc']
- compilers: ['%clang']
- packages: [hdf5, $more]
- more: [zlib]
specs:
- $packages
- matrix: [[netcdf-c], [$^mpis], [$compilers]]
"""
    assert specs(text) == [
        *("hdf5", "zlib"),
        *("netcdf-c ^openmpi@5 %gcc", "netcdf-c ^openmpi@5 %clang", "netcdf-c ^mpich %gcc", "netcdf-c ^mpich %clang"),
    ]
    assert all(root.certain for root in expand(text).roots)


def test_groups_are_expanded_and_told() -> None:
    found = expand("""
specs:
- zlib
- {group: compilers, specs: [gcc@15, llvm], explicit: false}
- {group: apps, needs: [compilers], matrix: [[hdf5, root], ['%gcc@15']]}
- null
""")
    assert [root.spec for root in found.roots] == ["zlib", "gcc@15", "llvm", "hdf5 %gcc@15", "root %gcc@15"]
    assert found.groups == ("compilers", "apps")


def test_what_only_spack_can_decide_is_uncertain_and_told() -> None:
    found = expand("""
definitions:
- archs: [zlib]
  when: arch.satisfies("x86_64:")
specs:
- hdf5
- $archs
- $nowhere
- matrix: [[a, b], [+x]]
  exclude: ["b+x"]
""")
    assert [(root.spec, root.certain) for root in found.roots] == [
        ("hdf5", True),
        ("zlib", False),
        ("a +x", False),
        ("b +x", False),
    ]
    assert found.left == (
        '$archs, of which one list applies only when arch.satisfies("x86_64:")',
        "$nowhere, which no file here defines",
        "a matrix of 2 specs, from which 'exclude' removes some: b+x",
    )


def test_a_very_large_matrix_is_counted() -> None:
    row = [f"p{number}" for number in range(30)]
    found = expand(f"specs: [zlib, {{matrix: [{row}, {row}]}}]")
    assert len(row) ** 2 > LIMIT
    assert ([root.spec for root in found.roots], found.left) == (["zlib"], ("a matrix of 900 specs",))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("specs: [{spec: zlib}]", "has an entry with the key 'spec'; .*A single spec is a text, without a key"),
        ("specs: [{matrx: [[zlib]]}]", "did you mean 'matrix'"),
        ("specs: [$a]\ndefinitions: [{a: [$b]}, {b: [$a]}]", "'a' refers to itself"),
        ("specs: [{matrix: [zlib]}]", "expected a list"),
    ],
)
def test_a_form_that_spack_does_not_have_is_refused(text: str, words: str) -> None:
    with pytest.raises(EnvironmentFileError, match=words):
        expand(text)


@pytest.mark.parametrize(
    ("spec", "package", "constraint"),
    [
        ("vecgeom@1.2.4: +gdml", "vecgeom", "1.2.4: +gdml"),
        ("builtin.hdf5@=1.14+mpi", "hdf5", "1.14+mpi"),
        ("py-ray ^python@3.11", "py-ray", "^python@3.11"),
        ("zlib", "zlib", ""),
        ("target=zen4", "", "target=zen4"),
        ("languages:=c", "", "languages:=c"),
        ("/abcdef", "", "/abcdef"),
    ],
)
def test_a_spec_s_package_and_what_is_said_of_it(spec: str, package: str, constraint: str) -> None:
    assert (package_of(spec), constraint_of(spec)) == (package, constraint)


def test_items_of_specs_are_each_there_once() -> None:
    items = root_items(expand("specs: [hdf5@1.14, zlib, zlib, {matrix: [[hdf5], [+mpi, ~mpi]]}]"))
    assert [(item.name, item.version, item.build) for item in items] == [
        ("hdf5", "+mpi", "hdf5 +mpi"),
        ("hdf5", "1.14", "hdf5@1.14"),
        ("hdf5", "~mpi", "hdf5 ~mpi"),
        ("zlib", "", "zlib"),
    ]


@pytest.mark.parametrize(
    ("spec", "moving"),
    [
        ("hdf5@develop", ("hdf5@develop",)),
        ("hdf5@=main +mpi", ("hdf5@main",)),
        ("hdf5@1.14,master", ("hdf5@master",)),
        ("hdf5@git.feature/x=1.14", ("hdf5@git.feature/x=1.14",)),
        ("hdf5@1.14 ^zlib@develop %gcc@13", ("zlib@develop",)),
        (f"hdf5@git.{'ab' * 20}=1.14", ()),
        (f"hdf5@main commit={'ab' * 20}", ()),
        ("hdf5@1.14", ()),
        ("hdf5@:develop", ()),
        ("maintenance@2", ()),
        ("develop", ()),
    ],
)
def test_versions_that_follow_a_branch(spec: str, moving: tuple[str, ...]) -> None:
    assert moving_versions(spec) == moving


def plan(*files: str, environment: str = "/opt/spack-environment") -> ViewPlan:
    return plan_views([read_view(load(text or "{}", "x.yaml"), "x.yaml") for text in files], environment)


OPTION = "view:default:root:/opt/view"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (("",), ViewPlan()),
        (("view: true", "view: {default: {root: x}}"), ViewPlan()),
        (("view: false", "view: true"), ViewPlan(default=False)),
        (("", "view: no"), ViewPlan(default=False)),
        (("view: x", "view: false"), ViewPlan(original="x")),
        (("", "view: /site/view"), ViewPlan(original="/site/view")),
        (("view: {default: {root: x}}",), ViewPlan(original="x")),
        (("", "view: {default: {root: x, select: [zlib]}}"), ViewPlan(original="x", option=OPTION)),
        (("view: {a: {root: views/a}}",), ViewPlan(option=OPTION, roots=(("a", "/opt/spack-environment/views/a"),))),
        (
            ("view: {default: {root: x}}", "view: {a: {root: /srv/a}, default: {root: y}}"),
            ViewPlan(original="x", roots=(("a", "/srv/a"),)),
        ),
        (("view:: {default: {root: x}}", "view: {a: {root: /srv/a}}"), ViewPlan(original="x")),
        (("view: {a: {root: $spack/a}, b: {root: ~/b}}",), ViewPlan(option=OPTION, lost=(("a", "$spack/a"), ("b", "~/b")))),
    ],
)
def test_the_views_are_what_the_manifest_and_its_includes_say(files: tuple[str, ...], expected: ViewPlan) -> None:
    """Source: ``_process_view`` and ``merge_yaml``; the manifest's word wins, tables are joined."""
    assert plan(*files) == expected


def test_a_view_with_another_name_at_the_default_one_s_place_is_refused() -> None:
    with pytest.raises(EnvironmentFileError, match="the view 'a' is at /opt/view"):
        plan("view: {a: {root: ../view}}")
