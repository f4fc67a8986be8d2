"""Folders in which Apptainer cannot build are refused, here and on a login node by the same list."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from hpcdeploy.apptainer.build_folder import check_temporary
from hpcdeploy.apptainer.build_script import building
from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConfigError
from hpcdeploy.image import Definition

UNFIT = (
    "a(b",
    "a)b",
    "a'b",
    'a"b',
    "a,b",
    "a;b",
    "a&b",
    "a|b",
    "a`b",
    "a$b",
    "a<b",
    "a>b",
    "a:b",
    "a^b",
    "a #b",
    "a\t#b",
    "a #",
)
FIT = ("a b", "a#b", "a*b", "a?b", "a[b", "a{b}", "~a", "a!b", "a=b", "a%b", "a@b", "a+b", "a\\b", "aüb", "-a", "a  b")


@pytest.mark.parametrize("name", [*UNFIT, *FIT])
def test_a_folder_for_temporary_files_is_judged_here_and_on_a_login_node_alike(name: str, tmp_path: Path) -> None:
    unfit = name in UNFIT
    folder = f"{tmp_path}/{name}"
    if unfit:
        with pytest.raises(ConfigError, match="could not inspect container"):
            check_temporary(folder)
    else:
        check_temporary(folder)
    definition = Definition(name="x", text="Bootstrap: docker\nFrom: debian\n", files=(), build_args=(), inputs="ab" * 32)
    # cat: no build is to begin.
    cluster = Cluster(name="c", host="h", root="$FOLDER", image_cache=str(tmp_path), apptainer="cat")
    script = building(definition, cluster, context_sha256="")
    environment = {**os.environ, "FOLDER": folder}
    done = subprocess.run(["bash", "-s"], input=script, text=True, capture_output=True, check=False, env=environment)
    assert ("could not inspect container" in done.stderr) == unfit, done.stderr
    assert done.returncode == 10 or not unfit
    assert bool(re.search("set tmp in the cluster's settings", done.stderr)) == unfit
