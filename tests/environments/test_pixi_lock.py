"""Lock files of versions 5, 6 and 7."""

import pytest

from hpcdeploy.environments.channel_address import without_credentials
from hpcdeploy.environments.pixi_lock import Package, read_lock, read_locked
from hpcdeploy.errors import EnvironmentFileError

URL = "https://conda.anaconda.org/conda-forge/linux-64/ld_impl_linux-64-2.44-h1423503_1.conda"
WHEEL = "https://files.pythonhosted.org/packages/aa/onlylib-2.0.0-py3-none-any.whl"
SHA = "ab" * 32

ENVIRONMENTS = f"""
environments:
  gpu:
    channels:
    - url: https://conda.anaconda.org/conda-forge/
    packages:
      linux-64:
      - conda: {URL}
      - pypi: {WHEEL}
      osx-arm64: []
"""
V5 = f"""version: 5
{ENVIRONMENTS}
packages:
- kind: conda
  name: ld_impl_linux-64
  version: '2.44'
  build: h1423503_1
  subdir: linux-64
  url: {URL}
  sha256: {SHA}
  size: 670635
- kind: pypi
  name: onlylib
  version: 2.0.0
  url: {WHEEL}
  sha256: {SHA}
"""
V6 = f"""version: 6
{ENVIRONMENTS}
packages:
- conda: {URL}
  sha256: {SHA}
  md5: 0be7c6e070c19105f966d3758448d018
  size: 670635
- pypi: {WHEEL}
  name: onlylib
  version: 2.0.0
  sha256: {SHA}
"""
V7 = (
    V6.replace("version: 6", "version: 7", 1)
    .replace(
        "environments:\n",
        "platforms:\n- name: p1\n  subdir: linux-64\n"
        "  virtual-packages:\n  - __cuda=12.9\n  - __glibc=2.34\n  - __unix=0=0\n"
        "- name: osx-arm64\nenvironments:\n",
        1,
    )
    .replace("      linux-64:\n", "      p1:\n", 1)
)


@pytest.mark.parametrize("text", [V5, V6, V7], ids=["5", "6", "7"])
def test_the_packages_of_every_version_are_the_same_values(text: str) -> None:
    locked = read_locked(text, "gpu")
    assert locked.channels == ("https://conda.anaconda.org/conda-forge/",)
    assert locked.packages == (
        Package(kind="conda", name="ld_impl_linux-64", version="2.44", url=URL, size=670635, sha256=SHA),
        Package(kind="pypi", name="onlylib", version="2.0.0", url=WHEEL, sha256=SHA),
    )


def test_version_7_says_what_the_solve_assumed() -> None:
    assert (read_locked(V7, "gpu").cuda, read_locked(V7, "gpu").glibc) == ("12.9", "2.34")
    assert (read_locked(V6, "gpu").cuda, read_locked(V6, "gpu").glibc) == ("", "")


def test_a_package_of_the_workspace_itself_is_local() -> None:
    text = V6.replace(WHEEL, "./")
    assert [package.is_local for package in read_locked(text, "gpu").packages] == [False, True]


@pytest.mark.parametrize(
    ("text", "environment", "words"),
    [
        (V6.replace("version: 6", "version: 8", 1), "gpu", ["has version 8", "up to 7", "only reads versions up to"]),
        (V6.replace("version: 6", "version: 4", 1), "gpu", ["has version 4", "pixi lock"]),
        (V6, "gpo", ["has no environment 'gpo': if the manifest has it, run 'pixi lock'; did you mean 'gpu'?"]),
        (V6.replace("linux-64:", "linux-aarch64:", 1), "gpu", ["is not locked for linux-64", "linux-aarch64"]),
        (V6.replace("- conda:", "- conda", 1), "gpu", ["pixi.lock"]),
        ("version: 6\nenvironments: [\n", "gpu", ["line 3", "not valid YAML"]),
        (V6.partition("packages:\n- conda")[0], "gpu", ["which is not in 'packages'"]),
        ("just words", "gpu", ["expected a table"]),
    ],
)
def test_a_lock_file_that_is_wrong_says_where_and_what_to_do(text: str, environment: str, words: list[str]) -> None:
    with pytest.raises(EnvironmentFileError) as caught:
        read_locked(text, environment)
    for word in words:
        assert word in str(caught.value)


def test_several_platforms_of_one_subfolder_are_told_apart_by_what_they_promise() -> None:
    text = V7.replace("- name: osx-arm64\n", "- name: linux-64\n  virtual-packages: [__unix=0=0, __glibc=2.28]\n", 1)
    rows = read_lock(text.replace("osx-arm64: []", "linux-64: []")).rows("gpu", "linux-64")
    assert [(row.key, row.platform.cuda, row.platform.glibc) for row in rows] == [
        ("p1", "12.9", "2.34"),
        ("linux-64", "", "2.28"),
    ]
    assert [row.shown for row in rows] == ["linux-64 (CUDA 12.9, glibc 2.34)", "linux-64"]


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://me:secret@host.example.org/channel/", "https://host.example.org/channel/"),
        ("https://secret@host.example.org/channel/", "https://host.example.org/channel/"),
        ("https://host.example.org/t/secret/channel/", "https://host.example.org/t/***/channel/"),
        ("https://host.example.org/conda/t/secret/channel", "https://host.example.org/conda/t/***/channel"),
        ("https://host.example.org/channel/?token=secret", "https://host.example.org/channel/"),
        ("git+https://secret@host.example.org/x?rev=1#2", "git+https://host.example.org/x?rev=1#2"),
        ("./packages/at@t/t/x", "./packages/at@t/t/x"),
        (
            "https://files.example.org/packages/source/t/x/x-1.tar.gz",
            "https://files.example.org/packages/source/t/x/x-1.tar.gz",
        ),
    ],
)
def test_credentials_in_an_address_are_not_shown(address: str, shown: str) -> None:
    assert without_credentials(address) == shown
    text = V6.replace("https://conda.anaconda.org/conda-forge/\n", f"{address}\n").replace(WHEEL, address)
    locked = read_locked(text, "gpu")
    assert locked.channels == (shown,)
    assert locked.packages[1].url == shown
    with pytest.raises(EnvironmentFileError) as caught:
        read_locked(text.partition("packages:\n- conda")[0], "gpu")
    assert "secret" not in str(caught.value)


def test_an_environment_may_have_a_number_for_a_name() -> None:
    lock = read_lock(V6.replace("  gpu:\n", "  312:\n"))
    assert lock.environments == ("312",)
    assert len(lock.read("312", lock.rows("312")[0]).packages) == 2


@pytest.mark.parametrize("version", [5, 6, 7])
def test_an_environment_without_packages_is_locked_for_linux(version: int) -> None:
    text = f"version: {version}\nenvironments:\n  default:\n    channels: []\n    packages: {{}}\npackages: []\n"
    assert read_locked(text, "default").packages == ()
