"""The stand-in takes platforms, targets and inline environments as pixi 0.77 does, by code of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hpcdeploy_lab import base_image, channel
from tests.lab_image.conftest import EXAMPLE, Workspace

RICH = f"""\
[workspace]
name = "rich"
channels = ["{channel.URL}"]
platforms = [
  "linux-64",
  {{ name = "a100", platform = "linux-64", glibc = "2.17", cuda = {{
    driver = "12.9",
    arch = "8.0",
  }} }},
]
[dependencies]
hpcdeploy-demo-runtime = "*"
[target."a*".dependencies]
hpcdeploy-demo-cuda = "*"
[target.a100.activation.env]
DEMO_PLATFORM = "a100"
[environments.inline.dependencies]
hpcdeploy-demo-activation = "*"
[environments.inline.activation]
env = {{ DEMO_INLINE = "yes" }}
scripts = ["inline.sh"]
"""


def rich_lock() -> str:
    """Write a lock file of version 7 for `RICH`, from that of the example."""
    whole = (EXAMPLE / "pixi.lock").read_text()
    entries = [line for line in whole.partition("\npackages:")[0].splitlines() if line.startswith("      - conda")]
    plain = "\n".join(line for line in dict.fromkeys(entries) if "-cuda-" not in line)
    every = "\n".join(dict.fromkeys(entries))
    environment = f"    channels:\n    - url: {channel.URL}/\n    packages:\n      linux-64:\n{plain}\n      p1:\n{every}\n"
    listed = "  virtual-packages:\n  - __unix=0=0\n  - __linux=4.18\n"
    return (
        f"version: 7\nplatforms:\n- name: linux-64\n{listed}  - __glibc=2.28\n"
        f"- name: p1\n  subdir: linux-64\n{listed}  - __cuda=12.9\n  - __cuda_arch=8.0\n  - __glibc=2.17\n"
        f"environments:\n  default:\n{environment}  inline:\n{environment}"
        f"packages:{whole.partition(chr(10) + 'packages:')[2]}"
    )


@pytest.fixture
def rich(workspace: Workspace) -> Workspace:
    """A workspace with two platforms for linux-64."""
    (workspace.root / "pixi.toml").write_text(RICH)
    (workspace.root / "pixi.lock").write_text(rich_lock())
    (workspace.root / "inline.sh").write_text("export DEMO_SCRIPT=ran\n")
    return workspace


def packages(workspace: Workspace) -> set[str]:
    found = (workspace.prefix("default") / "conda-meta").glob("*.json")
    return {json.loads(path.read_text())["name"].removeprefix("hpcdeploy-demo-") for path in found}


CARD = {"CONDA_OVERRIDE_CUDA": "12.9", "CONDA_OVERRIDE_CUDA_ARCH": "8.0"}


@pytest.mark.parametrize("card", [{}, CARD], ids=["no GPU", "GPU"])
def test_the_first_platform_that_the_machine_can_run_is_installed(rich: Workspace, card: dict[str, str]) -> None:
    done = rich.pixi("install", "--locked", environ=card)
    assert done.code == 0, done.err
    assert packages(rich) == {"activation", "runtime"}


def test_a_platform_that_is_named_is_installed_and_activated(rich: Workspace) -> None:
    done = rich.pixi("install", "--locked", "--platform", "a100", environ=CARD)
    assert done.code == 0, done.err
    assert packages(rich) == {"activation", "runtime", "cuda"}
    assert "DEMO_PLATFORM=" in rich.pixi("shell-hook", "--as-is", "-s", "bash", environ=CARD).out
    # Without --as-is the hook would install the first platform again, over this one.
    rich.pixi("install", "--locked")
    assert packages(rich) == {"activation", "runtime"}
    assert "DEMO_PLATFORM=" not in rich.pixi("shell-hook", "--as-is", "-s", "bash").out


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "__cuda"),
        ({"CONDA_OVERRIDE_CUDA": "12.9"}, "__cuda_arch"),
        ({**CARD, "CONDA_OVERRIDE_GLIBC": "2.12"}, "__glibc"),
        ({**CARD, "CONDA_OVERRIDE_CUDA": "12.1"}, "__cuda >=12.9"),
    ],
)
def test_what_a_platform_promises_must_be_there_or_said(rich: Workspace, environ: dict[str, str], said: str) -> None:
    done = rich.pixi("install", "--locked", "--platform", "a100", environ=environ)
    assert done.code == 1
    assert said in done.err


def test_a_platform_that_is_none_of_the_environments_is_refused(rich: Workspace) -> None:
    done = rich.pixi("install", "--locked", "--platform", "p1", environ=CARD)
    assert done.code == 1
    assert "platform 'p1' is not part of environment 'default'" in done.err


def test_a_platform_that_is_not_locked_makes_the_lock_file_old(rich: Workspace) -> None:
    rich.rewrite("pixi.toml", 'driver = "12.9"', 'driver = "13.0"')
    done = rich.pixi("install", "--locked")
    assert done.code == 1
    assert "not locked for the platform a100" in done.err


def test_what_stands_in_an_environment_itself_holds_there_alone(rich: Workspace) -> None:
    assert rich.pixi("install", "--locked", "-e", "inline").code == 0
    assert rich.pixi("install", "--locked").code == 0
    inline = json.loads(rich.pixi("shell-hook", "-e", "inline", "--json").out)["environment_variables"]
    assert (inline["DEMO_INLINE"], inline["DEMO_SCRIPT"]) == ("yes", "ran")
    default = json.loads(rich.pixi("shell-hook", "--json").out)["environment_variables"]
    assert not {"DEMO_INLINE", "DEMO_SCRIPT"} & set(default)


def test_the_base_image_carries_what_reads_toml_1_1(tmp_path: Path) -> None:
    for name, data, _ in base_image._toml_files():
        path = tmp_path / Path(name).relative_to(base_image.STANDIN_FOLDER)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    read = (
        "import sys; sys.path.insert(0, sys.argv[1]); import tomli; print(tomli.__file__, tomli.loads('a = {\\n b=1,\\n}'))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", read, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path}/tomli/__init__.py {{'a': {{'b': 1}}}}\n"
