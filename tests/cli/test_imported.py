"""Modules that the usual commands must not import: most of a short command's time is spent on imports."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hpcdeploy.image import BuiltImage
from hpcdeploy.run import Run
from hpcdeploy.store import Store, default_path

MODULES = """
import atexit, sys
atexit.register(lambda: print("imported", *sys.modules, file=sys.__stderr__))
from hpcdeploy.cli.main import main
main()
"""
NEVER = {
    *("rich", "markdown_it", "pygments", "attr", "email", "http", "zipfile", "importlib.metadata", "logging", "asyncio"),
    *("concurrent", "ssl", "requests", "oras", "spython", "jsonschema", "yaml", "paramiko", "cryptography", "pydantic"),
    *("hpcdeploy.definition.checking", "hpcdeploy.definition.dockerfile", "hpcdeploy.definition.pixi"),
    *("hpcdeploy.definition.spack", "hpcdeploy.environments.pixi", "hpcdeploy.environments.spack"),
    *("hpcdeploy.flows.generate", "hpcdeploy.flows.sources", "hpcdeploy.apptainer", "hpcdeploy.engine"),
}
"""Modules and packages that no command below needs."""

METADATA = {"importlib.metadata", "email", "zipfile"}
"""What only the list of verbs needs: other distributions may add some."""

SETTINGS = {
    "jinja2",
    "tomli",
    "sqlite3",
    "hpcdeploy.config",
    "hpcdeploy.flows",
    "hpcdeploy.remote",
    "hpcdeploy.store",
}
"""What only a command that reads settings or the record needs."""


def imported(folder: Path, *words: str) -> set[str]:
    """Run a command in a project with an image, a job and a run on this machine; return the modules of its process."""
    (folder / "hpcdeploy").mkdir()
    (folder / "hpcdeploy/config.toml").write_text(f'[clusters.here]\nhost = "local"\nroot = "{folder}/root"\n')
    (folder / "project").mkdir()
    (folder / "project/hpcdeploy.toml").write_text('[image]\npixi = {}\n\n[jobs.report]\ncommand = ["true"]\n')
    environment = {**os.environ, **dict.fromkeys(("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"), str(folder))}
    store = Store(default_path(environment))
    image = BuiltImage(name="default", sha256="ab" * 32, size=5, inputs="", apptainer="", created="", built_on="here")
    store.built(folder / "project", image)
    run = Run(
        id="report-1",
        job="report",
        cluster="here",
        scheduler="slurm",
        image="default",
        sha256="ab" * 32,
        tasks=1,
        command=("true",),
        submitted=1,
        workdir="",
        outputs=(),
    )
    store.add(run, "true")
    done = subprocess.run(
        [sys.executable, "-c", MODULES, *words],
        cwd=folder / "project",
        env={**environment, "PATH": "/nowhere"},  # so that nothing is submitted, wherever this runs
        capture_output=True,
        text=True,
        check=False,
    )
    *_, last = done.stderr.splitlines()
    assert last.startswith("imported "), done.stderr
    return set(last.split())


def among(modules: set[str], unwanted: set[str]) -> list[str]:
    """Return the modules that are unwanted, or lie in an unwanted package."""
    return sorted(name for name in modules if any(f"{name}.".startswith(f"{other}.") for other in unwanted))


@pytest.mark.parametrize(
    ("words", "most", "unwanted"),
    [
        (["--help"], 215, SETTINGS),
        (["submit", "--help"], 185, SETTINGS - {"hpcdeploy.config"}),
        (["runs"], 240, {"jinja2", "hpcdeploy.transport.ssh", "hpcdeploy.scheduler"}),
        (["render", "report"], 315, {"hpcdeploy.transport.ssh"}),
        (["submit", "report"], 330, {"hpcdeploy.transport.ssh"}),
        (["status", "report-1"], 330, {"hpcdeploy.transport.ssh"}),
    ],
)
def test_a_command_imports_only_what_it_needs(tmp_path: Path, words: list[str], most: int, unwanted: set[str]) -> None:
    modules = imported(tmp_path, *words)
    needed = METADATA if words == ["--help"] else set()
    assert among(modules, (NEVER | unwanted) - needed) == []
    assert len(modules) <= most
