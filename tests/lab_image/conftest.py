"""A copy of the example workspace whose channel lies in a folder, and the stand-in as a program of its own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hpcdeploy_lab import channel

EXAMPLE = Path(__file__).parents[2] / "examples" / "pixi-gpu"
START = "from hpcdeploy_lab.pixi_standin.main import start; start()"


@dataclass
class Outcome:
    code: int
    out: str
    err: str


@dataclass
class Workspace:
    """A workspace, and the stand-in run in it with an environment that nothing of this machine's gets into."""

    root: Path
    home: Path
    channel: Path
    environ: dict[str, str] = field(default_factory=dict)

    def pixi(self, *words: str, environ: Mapping[str, str] | None = None, folder: Path | None = None) -> Outcome:
        variables = {"PATH": os.defpath, "HOME": str(self.home), "LANG": "C.UTF-8", **self.environ, **(environ or {})}
        done = subprocess.run(
            [sys.executable, "-c", START, *words],
            cwd=folder or self.root,
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def mirror(self, address: str) -> None:
        """Let the workspace's own settings lead the channel to `address`."""
        (self.root / ".pixi").mkdir(exist_ok=True)
        (self.root / ".pixi" / "config.toml").write_text(f'[mirrors]\n"{channel.URL}" = ["{address}"]\n')

    def rewrite(self, name: str, old: str, new: str) -> None:
        """Replace text in a file of the workspace; the text must be there."""
        text = (self.root / name).read_text()
        assert old in text
        (self.root / name).write_text(text.replace(old, new))

    def prefix(self, environment: str) -> Path:
        return self.root / ".pixi" / "envs" / environment


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(root=tmp_path / "work space", home=tmp_path / "home", channel=tmp_path / "channel")
    shutil.copytree(EXAMPLE, made.root, ignore=shutil.ignore_patterns(".pixi"))
    made.home.mkdir()
    channel.write(made.channel)
    made.mirror(made.channel.as_uri())
    return made


@pytest.fixture
def gpu(workspace: Workspace) -> Workspace:
    """The workspace with its ``gpu`` environment installed, on a machine that says it has CUDA 12."""
    workspace.environ["CONDA_OVERRIDE_CUDA"] = "12"
    done = workspace.pixi("install", "--locked", "--environment", "gpu")
    assert done.code == 0, done.err
    return workspace
