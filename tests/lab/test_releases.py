"""Which release of Slurm a lab has: what is chosen, what the mirror has, what is said where it has another one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hpcdeploy.errors import ConfigError, LabError
from hpcdeploy_lab import archive
from hpcdeploy_lab.archive import missing, parse_madison
from hpcdeploy_lab.mirror import Mirror
from hpcdeploy_lab.releases import RELEASES, VARIABLE, release_name, release_of, upstream
from hpcdeploy_lab.settings import default_settings

SITE = "http://mirror.example/debian"


@pytest.mark.parametrize(
    ("version", "release", "short"),
    [
        ("22.05.8-4+deb12u3", "22.05", "22.05.8"),
        ("24.11.5-4", "24.11", "24.11.5"),
        ("26.05.5-1+b1", "26.05", "26.05.5"),
        ("1:27.11.0~rc1-1", "27.11", "27.11.0~rc1"),
        ("26.05", "", "26.05"),
        ("", "", ""),
    ],
)
def test_a_packages_version_tells_the_release(version: str, release: str, short: str) -> None:
    assert (release_name(version), upstream(version)) == (release, short)


def test_the_option_comes_before_the_environment_and_that_before_the_default() -> None:
    environment = {"HOME": "/h", VARIABLE: "26.05"}
    assert default_settings(environment).slurm == "26.05"
    assert default_settings(environment, slurm="22.05").slurm == "22.05"
    assert default_settings({"HOME": "/h", VARIABLE: ""}).slurm == "24.11"
    assert default_settings(environment, slurm="newest").slurm == "newest"


def test_a_release_that_no_lab_has_is_refused_with_those_that_there_are() -> None:
    expected = r"expected 22\.05, 24\.11, 26\.05 or newest"
    with pytest.raises(ConfigError, match=rf"--slurm: no lab can have Slurm '23\.02'; {expected}"):
        default_settings({"HOME": "/h"}, slurm="23.02")
    with pytest.raises(ConfigError, match=rf"{VARIABLE}: no lab can have Slurm '24'; {expected}"):
        default_settings({"HOME": "/h", VARIABLE: "24"})


def test_the_command_refuses_it_before_it_does_anything(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "from hpcdeploy.cli.main import main; main()", "lab", "up", "--slurm", "23.02"]
    folders = {"XDG_STATE_HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(argv, env={**os.environ, **folders}, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "'23.02'; expected 22.05, 24.11, 26.05 or newest" in done.stderr
    assert not (tmp_path / "hpcdeploy" / "lab").exists()


def test_a_release_after_the_known_ones_is_the_unstable_suites() -> None:
    assert (release_of("27.05").suite, release_of("27.05").source) == ("trixie", "sid")


def test_the_first_line_of_madison_is_the_newest_version() -> None:
    lines = " slurm-wlm |  26.05.5-1 | http://mirror.example sid/main amd64 Packages\n slurm-wlm | 24.11.5-4 | x\n"
    assert parse_madison(lines) == "26.05.5-1"
    assert parse_madison("") == ""


def test_a_mirror_that_went_on_to_another_release_is_one_message_with_what_it_has() -> None:
    told = missing(RELEASES["26.05"], "26.11.2-1", SITE)
    assert told.startswith(f"the mirror {SITE} has Slurm 26.11.2 in sid; expected Slurm 26.05; use --slurm newest, or ")
    told = missing(RELEASES["22.05"], "", SITE)
    assert told.startswith(f"the mirror {SITE} has no Slurm in bookworm any more; expected Slurm 22.05; name in ")
    assert missing(RELEASES["26.05"], "26.05.6-1", SITE) == ""


def test_an_unreachable_mirror_is_told_apart_from_one_without_the_suite(tmp_path: Path) -> None:
    gone = Mirror("http://127.0.0.1:9/debian", ('Acquire::Retries "0"',))
    with pytest.raises(LabError, match=r"(?s)127\.0\.0\.1:9/debian cannot be read.*127\.0\.0\.1"):
        archive.read_version(gone, "sid")
