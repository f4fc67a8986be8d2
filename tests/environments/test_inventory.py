import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcdeploy.environments.families import conda_family
from hpcdeploy.environments.inventory import Item, compare, items_of, known_size, largest_first, unknown_sizes
from hpcdeploy.environments.pixi_lock import Package, read_lock
from hpcdeploy.environments.spack_inventory import spack_items
from hpcdeploy.errors import EnvironmentFileError
from tests.environments.test_pixi_lock import V5, V6, V7

FORGE = "https://conda.anaconda.org/conda-forge"


def item(name: str, version: str = "1", size: int | None = 5, build: str = "b", kind: str = "conda") -> Item:
    return Item(name=name, version=version, kind=kind, family="libraries", size=size, build=build)


@pytest.mark.parametrize(
    ("file", "family"),
    [
        ("linux-64/libcublas-12.9.1.4-h676940d_1.conda", "CUDA"),
        ("noarch/cuda-version-12.9-h4f385c5_3.conda", "CUDA"),
        ("linux-64/nccl-2.28.9.1-h4d09622_0.conda", "CUDA"),
        ("linux-64/libmagma-2.9.0-ha7672b3_6.conda", "CUDA"),
        ("linux-64/libcurl-8.17.0-h4e3cde8_0.conda", "libraries"),
        ("linux-64/libcap-2.77-h3ff7636_0.conda", "libraries"),
        ("linux-64/numpy-2.3.5-py313hf6604e3_0.conda", "Python"),
        ("noarch/jinja2-3.1.6-pyhd8ed1ab_0.conda", "Python"),
        ("linux-64/triton-3.5.1-cuda129py313hc32cb6e_0.conda", "Python"),
        ("linux-64/libtorch-2.9.1-cuda129_mkl_h98cd51c_300.conda", "Python"),
        ("linux-64/python-3.13.10-h2b335a9_100_cp313.conda", "Python"),
        ("linux-64/pytorch3d-0.7.8-cuda126_mkl_py312_h1.tar.bz2", "Python"),
        ("linux-64/tool-1.0-h1_happy3_0.conda", "programs"),
        ("linux-64/r-base-4.5.2-h6a1b9f3_0.conda", "R"),
        ("linux-64/_openmp_mutex-4.5-5_kmp_llvm.conda", "libraries"),
        ("linux-64/git-2.52.0-pl5321h6d3cee1_0.conda", "programs"),
    ],
)
def test_a_package_belongs_to_the_family_that_its_name_and_build_tell(file: str, family: str) -> None:
    assert conda_family(file.partition("/")[2].rsplit("-", 2)[0], f"{FORGE}/{file}") == family


def test_packages_without_a_size_come_last_and_are_counted() -> None:
    packages = (
        Package(kind="pypi", name="wheel", version="1", url="https://pypi.example.org/wheel.whl"),
        Package(kind="conda", name="small", version="1", url=f"{FORGE}/linux-64/small-1-0.conda", size=2),
        Package(kind="conda", name="large", version="1", url=f"{FORGE}/linux-64/large-1-0.conda", size=3),
        Package(kind="source", name="own", version="", url="."),
    )
    items = items_of(packages)
    assert [(one.name, one.size, one.family) for one in items] == [
        ("large", 3, "programs"),
        ("small", 2, "programs"),
        ("own", None, "source"),
        ("wheel", None, "PyPI"),
    ]
    assert (known_size(items), unknown_sizes(items)) == (5, 2)


def test_what_came_went_changed_and_was_only_rebuilt_is_told_apart() -> None:
    before = [item("gone", size=7), item("same"), item("up", "1", 10), item("again", build="old")]
    after = [item("same"), item("up", "2", 30), item("again", build="new"), item("come", size=None)]
    changes = compare(before, after)
    assert [one.name for one in changes.added] == ["come"]
    assert [one.name for one in changes.removed] == ["gone"]
    assert [(change.after.name, change.is_rebuild) for change in changes.changed] == [("again", True), ("up", False)]
    assert changes.size == 40 - 27


def test_a_name_in_several_versions_is_compared_version_by_version() -> None:
    changes = compare(
        [item("hdf5", "1.12"), item("hdf5", "1.14")], [item("hdf5", "1.14"), item("hdf5", "2.0"), item("hdf5", "2.1")]
    )
    assert [(change.before.version, change.after.version) for change in changes.changed] == [("1.12", "2.0")]
    assert [one.version for one in changes.added] == ["2.1"]


def test_a_python_package_of_an_index_is_another_than_condas_of_that_name() -> None:
    changes = compare([item("numpy")], [item("numpy", kind="pypi")])
    assert len(changes.added) == len(changes.removed) == 1


ITEMS = st.lists(
    st.builds(item, st.sampled_from("abc"), st.sampled_from("12"), st.none() | st.integers(1, 9), st.sampled_from("xy")),
    max_size=8,
    unique_by=lambda one: (one.name, one.version, one.build),
)  # fmt: skip


@given(ITEMS, ITEMS)
def test_changes_lead_from_the_one_list_to_the_other(before: list[Item], after: list[Item]) -> None:
    changes = compare(before, after)
    identities = {(one.name, one.version, one.build) for one in before}
    identities -= {(one.name, one.version, one.build) for one in changes.removed}
    identities -= {(one.before.name, one.before.version, one.before.build) for one in changes.changed}
    identities |= {(one.name, one.version, one.build) for one in changes.added}
    identities |= {(one.after.name, one.after.version, one.after.build) for one in changes.changed}
    assert identities == {(one.name, one.version, one.build) for one in after}
    assert changes.size == known_size(after) - known_size(before)
    assert compare(before, before) == compare(after, after)
    assert largest_first(before) == largest_first(reversed(before))


@pytest.mark.parametrize(
    ("text", "version", "platform"),
    [(V5, 5, "linux-64"), (V6, 6, "linux-64"), (V7, 7, "linux-64 (CUDA 12.9, glibc 2.34)")],
)
def test_a_lock_file_names_every_environment_with_its_platforms_and_no_alias(text: str, version: int, platform: str) -> None:
    lock = read_lock(text)
    assert lock.version == version
    assert lock.environments == ("gpu",)
    assert [row.shown for row in lock.rows("gpu")] == [platform, "osx-arm64"]


@pytest.mark.parametrize(
    ("text", "said"), [("version: 99\n", "version 99"), ("[]\n", "a table was expected"), ("a: [", "not valid YAML")]
)
def test_what_is_no_lock_file_is_refused(text: str, said: str) -> None:
    with pytest.raises(EnvironmentFileError, match=said):
        read_lock(text, "pixi.lock")


def test_spacks_packages_have_versions_and_no_size() -> None:
    text = (
        '{"_meta": {"lockfile-version": 6}, "roots": [{"hash": "h1", "spec": "root"}], "concrete_specs": {'
        '"h1": {"name": "root", "version": "6.32", "namespace": "builtin"},'
        '"h2": {"name": "py-numpy", "version": "2.1"}, "h3": {"name": "libxml2", "version": "2.13"}}}'
    )
    assert [(one.name, one.version, one.family, one.size, one.build) for one in spack_items(text)] == [
        ("libxml2", "2.13", "libraries", None, "h3"),
        ("py-numpy", "2.1", "Python", None, "h2"),
        ("root", "6.32", "programs", None, "h1"),
    ]
    with pytest.raises(EnvironmentFileError, match="locks no package"):
        spack_items('{"_meta": {"lockfile-version": 6}}')
