"""The wheels: hpcdeploy's renders from an environment with nothing but itself; hpcdeploy-lab's adds the verb ``lab``."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

RENDER = """
from hpcdeploy.cluster import Cluster
from hpcdeploy.environments.inventory import Item
from hpcdeploy.job import Job
from hpcdeploy.picture import draw
from hpcdeploy.run import Run
from hpcdeploy.staged_files import Delivery
from hpcdeploy.remote.submission_script import submission
from hpcdeploy.templates import shipped_root
job = Job(name="j", image="i", command=("true",))
run = Run(id="j-1", job="j", cluster="c", scheduler="slurm", image="i", sha256="0" * 64, tasks=1, command=(), submitted=0)
print(shipped_root())
print((shipped_root() / "workflow_templates" / "images.yaml").is_file())
print(draw("drawn", [Item(name="x", version="1", kind="conda", family="CUDA", size=1)], page=True))
print(submission(run, job, Cluster(name="c"), Delivery(sha256="0" * 64)))
"""


def test_a_wheel_renders_from_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "empty", with_pip=True)
    python = tmp_path / "empty" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", wheel], check=True)
    said = subprocess.run([python, "-I", "-c", RENDER], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert said.startswith(str(tmp_path / "empty"))
    assert said.splitlines()[1] == "True"
    assert "#SBATCH --job-name=j-1" in said
    assert "<title>drawn</title>" in said
    version = subprocess.run(
        [tmp_path / "empty" / "bin" / "hpcdeploy", "--version"], capture_output=True, text=True, check=True
    )
    assert version.stdout.startswith("hpcdeploy ")


def test_the_lab_is_a_wheel_of_its_own_that_adds_its_verb(wheel: Path, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    source = Path(__file__).parent.parent / "lab"
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, source], check=True)
    [lab_wheel] = tmp_path.glob("hpcdeploy_lab-*.whl")
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if "lab" in name.partition("-")[0].split("/")]
    venv.create(tmp_path / "empty", with_pip=True)
    python, command = (tmp_path / "empty" / "bin" / name for name in ("python", "hpcdeploy"))

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([command, *words], capture_output=True, text=True, check=False)

    subprocess.run([python, *pip[1:], "install", wheel], check=True)
    alone = run("lab", "status")
    assert (alone.returncode, alone.stdout) == (73, "")
    assert "hpcdeploy-lab, which is not installed" in alone.stderr
    assert "test cluster" not in run("--help").stdout
    subprocess.run([python, *pip[1:], "install", "--no-deps", lab_wheel], check=True)
    assert run("lab", "status").stdout.startswith("lab: ")
    assert "Run a complete test cluster on this machine." in run("--help").stdout
