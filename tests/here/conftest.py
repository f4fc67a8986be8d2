"""hpcdeploy itself inside the lab, beside a real Apptainer, as its ordinary user; and an image to run."""

import shutil
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from hpcdeploy.image import BuiltImage
from hpcdeploy.store import Store
from hpcdeploy_lab.base_image import reference
from hpcdeploy_lab.inside import inside, inside_argv
from hpcdeploy_lab.state import Lab
from tests.shared import OWN

ROOT = Path(__file__).parent.parent.parent
PARTS = ("hpcdeploy", "defs", "login")
LIBRARIES = (
    "typer",
    "click",
    "rich",
    "pygments",
    "markdown_it",
    "mdurl",
    "shellingham",
    "jinja2",
    "markupsafe",
    "yaml",
    "tomli",
)
PROGRAM = "from hpcdeploy.cli.main import main; main()"
DEFINITION = """\
Bootstrap: docker
From: {base}

%environment
    export FROM_IMAGE=active

%runscript
    echo "run script: $*"

%startscript
    printf '%s' "$ODD" >odd-of-instance
    exec "$@"
"""
SETTINGS = """\
[images.small]
definition = "small.def"
[images.built]
definition = "small.def"
[jobs.report]
image = "../small.sif"
command = ["sh", "-c", 'printf "%s|" "$FROM_IMAGE" "$ODD" "$HPCDEPLOY_TASK" "$@"; pwd', "sh", "two words", ""]
environment = { ODD = "it's \\"$HOME\\" \\u0081 \\n ✓ " }
binds = [{ source = "$DATA_HERE", destination = "/data", read-only = true }]
gpus = 2
memory = "4 GB"
time = "1 h"
slurm = { constraint = "a100" }
"""


@dataclass(frozen=True)
class Here:
    """The lab's login node as the user's machine: ``project`` is a folder on this machine."""

    lab: Lab
    home: str
    project: Path

    @property
    def apptainer(self) -> dict[str, str]:
        """Where Apptainer notes instances: not among those of other test runs."""
        return {"APPTAINER_CONFIGDIR": f"{self.home}/apptainer"}

    def argv(self, *words: str | bytes, environment: Mapping[str, str] | None = None) -> list[str | bytes]:
        variables = {
            "PYTHONPATH": f"{self.home}/site",
            "XDG_STATE_HOME": f"{self.home}/state",
            "XDG_CACHE_HOME": f"{self.home}/cache",
            "DATA_HERE": f"{self.home}/data",
            "HPCDEPLOY_TRUST_PROJECT": "1",  # the project, which the person wrote, binds a folder outside of it
            **self.apptainer,
            **(environment or {}),
        }
        start = ["env", "-C", f"{self.home}/project", "python3", "-c", PROGRAM]
        return [*inside_argv(self.lab, start, user=self.lab.user, environment=variables), *words]

    def __call__(
        self, *words: str | bytes, stdin: bytes = b"", environment: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            self.argv(*words, environment=environment), input=stdin, capture_output=True, check=False, timeout=600
        )

    def said(self, *words: str | bytes, stdin: bytes = b"") -> bytes:
        done = self(*words, stdin=stdin)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def shell(self, line: str) -> "subprocess.CompletedProcess[bytes]":
        return inside(self.lab, ["sh", "-c", line], user=self.lab.user, environment=self.apptainer)


@pytest.fixture(scope="session")
def here(lab: Lab) -> Iterator[Here]:
    """Give hpcdeploy with what it needs, a project, and a small image with Python in it."""
    home = f"{lab.scratch}/{OWN}/run-here"
    folder = lab.seen(f"{lab.scratch}/{OWN}") / "run-here"
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / "site" / part, ignore=shutil.ignore_patterns("__pycache__"))
    purelib = Path(sysconfig.get_paths()["purelib"])
    for library in LIBRARIES:
        # Compiled parts belong to this machine's Python, not to the lab's; all of these do without.
        ignored = shutil.ignore_patterns("__pycache__", "*.so")
        shutil.copytree(purelib / library, folder / "site" / library, ignore=ignored)
    shutil.copy(purelib / "typing_extensions.py", folder / "site")
    (folder / "project").mkdir()
    (folder / "data").mkdir()
    (folder / "data" / "input").write_text("bound\n")
    (folder / "project" / "hpcdeploy.toml").write_text(SETTINGS)
    (folder / "small.def").write_text(DEFINITION.format(base=reference(lab)))
    image = BuiltImage(name="built", sha256="ab" * 32, size=1, inputs="", apptainer="", created="", path=f"{home}/small.sif")
    Store(folder / "state" / "hpcdeploy" / "runs.db").built(Path(f"{home}/project"), image)
    inside(lab, ["chown", "-R", lab.user, home])
    made = inside(
        lab,
        ["apptainer", "build", f"{home}/small.sif", f"{home}/small.def"],
        user=lab.user,
        environment={"APPTAINER_NOHTTPS": "1", "APPTAINER_CACHEDIR": f"{home}/apptainer-cache"},
    )
    assert made.returncode == 0, made.stderr.decode()
    yield Here(lab=lab, home=home, project=folder / "project")
    inside(lab, ["rm", "-rf", home])
