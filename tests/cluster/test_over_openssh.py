"""A whole run over a connection that the user opened before: there is no second login."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hpcdeploy.cluster import SchedulerName
from hpcdeploy.image import PublishedImage
from hpcdeploy.transport.openssh_mux import Mux
from hpcdeploy_lab.state import Lab
from tests.cluster.conftest import ROOT
from tests.cluster.driving import PATIENCE

COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))


def persons_file(lab: Lab, config: Path) -> str:
    return f"""
[clusters.held]
host = "{lab.host}"
ssh-config = "{config}"
schedulers = ["slurm", "htcondor"]
root = "$SCRATCH/{ROOT}"
poll-interval = "1 s"
"""


def project_file(published: PublishedImage) -> str:
    return f"""
[jobs.look]
image = "{published.reference}"
command = ["sh", "-c", "cat $HPCDEPLOY_CODE/word > made.txt"]
code = {{ source = "src" }}
outputs = ["made.txt"]
"""


@pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])
def test_a_run_is_sent_awaited_and_brought_home_over_the_connection_that_is_open(
    scheduler: SchedulerName, lab: Lab, published: PublishedImage, tmp_path: Path, short: Path
) -> None:
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "XDG_RUNTIME_DIR": str(short)}
    environment["XDG_CONFIG_HOME"] = str(tmp_path)
    project = tmp_path / "project"
    (project / "src").mkdir(parents=True)
    (project / "src" / "word").write_text("riding\n")

    def hpcdeploy(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, *words], cwd=project, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE
        )

    key = Path(shutil.copy(lab.state / "id_ed25519", tmp_path / "key"))
    config = tmp_path / "ssh_config"
    text = lab.ssh_config.read_text().replace(str(lab.state / "id_ed25519"), str(key))
    config.write_text(f"{text}    ControlPath {short}/%C\n")
    (tmp_path / "hpcdeploy").mkdir()
    (tmp_path / "hpcdeploy/config.toml").write_text(persons_file(lab, config))
    (project / "hpcdeploy.toml").write_text(project_file(published))
    ssh = ["ssh", "-F", str(config)]
    subprocess.run([*ssh, "-fNM", lab.host], check=True, stdin=subprocess.DEVNULL, capture_output=True)
    theirs = Mux(next(short.iterdir()))
    try:
        key.unlink()  # who wants to log in now cannot
        refused = subprocess.run([*ssh, "-S", "none", "-o", "BatchMode=yes", lab.host], capture_output=True, check=False)
        assert b"Permission denied" in refused.stderr
        sent = hpcdeploy("submit", "look", "--scheduler", scheduler, "--json")
        assert sent.returncode == 0, sent.stderr
        run = json.loads(sent.stdout)["id"]
        for words in (("wait", run), ("logs", run), ("fetch", run, "--output", "home")):
            done = hpcdeploy(*words)
            assert done.returncode == 0, done.stderr
        assert next((project / "home").rglob("made.txt")).read_text() == "riding\n"
        assert theirs.lasts()
    finally:
        theirs.end_master()
        theirs.close()
    gone = hpcdeploy("submit", "look")
    assert gone.returncode == 77, gone.stderr
