"""hpcdeploy on the lab's login node, where there is an Apptainer: builds on "this machine"."""

import json
import shlex
import shutil
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.shared import OWN

ROOT = Path(__file__).parent.parent.parent
PARTS = ("hpcdeploy", "defs", "login")
LIBRARIES = (
    *("spython", "jinja2", "markupsafe", "yaml", "semver", "tomli", "requests", "urllib3", "idna", "certifi"),
    "charset_normalizer",
)
DRIVER = """
import json, os, sys
from dataclasses import asdict
from pathlib import Path
from hpcdeploy.config.files import load_project
from hpcdeploy.errors import HpcdeployError
from hpcdeploy.apptainer.build_script import Repeating
from hpcdeploy.build_keys import epoch_of
from hpcdeploy.flows.bases import with_keys
from hpcdeploy.flows.build import LocalBuilds, build_here
from hpcdeploy.flows.generate import generate
from hpcdeploy.flows.reproducible import build_twice
from hpcdeploy.source import OciConfig
work, registry, program, force = sys.argv[1:]
work = Path(work)
project = load_project(work / "project")
[settings] = project.images.values()
definition = generate(settings, project.root, image_config=lambda reference: OciConfig(digest=os.environ.get("DIGEST", "")))
steps, lines = [], []
try:
    mirrors = (("ghcr.io", registry), ("docker.io/library", registry + "/library"))
    definition = with_keys(definition, (), epoch=epoch_of(os.environ))
    builds = LocalBuilds(work=work / "builds", program=program, mirrors=mirrors)
    if "TWICE" in os.environ:
        build_twice(definition, work / "out" / "x.sif", builds)
    built = build_here(definition, work / "out" / "x.sif", builds, is_recorded=lambda image: True,
                       repeating=Repeating(force=force == "force"),
                       report=lambda event: (steps if event.is_step else lines).append(event.text))
    print(json.dumps({"built": asdict(built), "steps": steps, "lines": lines}))
except (HpcdeployError, OSError) as error:
    print(json.dumps({"error": str(error), "code": getattr(error, "exit_code", 1), "steps": steps, "lines": lines}))
"""


class Builder:
    """A folder of one user in the lab, with hpcdeploy and a project in it; `folder` is its path on this machine."""

    def __init__(self, lab: Lab, folder: Path, within: str, user: str) -> None:
        self.lab = lab
        self.folder = folder
        self.within = within
        self.user = user

    def write(self, name: str, text: str) -> None:
        """Write a file of the project."""
        path = self.folder / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        self.own()

    def own(self) -> None:
        inside(self.lab, ["chown", "-R", self.user, self.within])

    def build(
        self,
        *,
        program: str = "",
        force: bool = False,
        before: str = "",
        variables: Mapping[str, str] | None = None,
    ) -> dict[str, object]:
        """Build the project's image; `before` are shell lines that run first. Returns what the driver prints."""
        given = f"{self.within} {self.lab.registry} '{program}' {'force' if force else '-'}"
        words = f'{before}\nexec python3 -c "$DRIVER" {given}'
        done = inside(
            self.lab,
            ["bash", "-c", words],
            user=self.user,
            environment={
                "PYTHONPATH": f"{self.within}/site",
                "PYTHONDONTWRITEBYTECODE": "1",
                "DRIVER": DRIVER,
                **(variables or {}),
            },
        )
        assert done.returncode == 0, done.stderr.decode()
        answer: dict[str, object] = json.loads(done.stdout.decode().splitlines()[-1])
        return answer

    def killed(self, after: float) -> None:
        """Start a build, and kill all its processes after this number of seconds."""
        build = f'echo $$ >{self.within}/pid; exec python3 -c "$DRIVER" {self.within} {self.lab.registry} "" -'
        line = f"setsid bash -c {shlex.quote(build)} & sleep {after:.3f}; kill -KILL -- -$(cat {self.within}/pid); wait"
        variables = {"PYTHONPATH": f"{self.within}/site", "PYTHONDONTWRITEBYTECODE": "1", "DRIVER": DRIVER}
        inside(self.lab, ["bash", "-c", line], user=self.user, environment=variables)
        (self.folder / "pid").unlink(missing_ok=True)

    def built(self, **more: object) -> tuple[str, list[str]]:
        """Build, and return the image's sha256 and the steps."""
        answer = self.build(**more)  # type: ignore[arg-type]
        assert "built" in answer, answer
        image, steps = answer["built"], answer["steps"]
        assert isinstance(image, dict)
        assert isinstance(steps, list)
        return image["sha256"], steps

    def run(self, *words: str, options: tuple[str, ...] = (), action: str = "exec", config: str = "") -> str:
        """Run a program in the built image; return its output."""
        program = ["apptainer", *(("-c", config) if config else ())]
        done = inside(self.lab, [*program, action, *options, f"{self.within}/out/x.sif", *words], user=self.user)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def shell(self, line: str) -> str:
        done = inside(self.lab, ["bash", "-c", line], user=self.user)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()


def copy_hpcdeploy(folder: Path) -> None:
    """Copy hpcdeploy and what it needs to ``folder/site``, and the example to ``folder/project``."""
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / "site" / part, ignore=shutil.ignore_patterns("__pycache__"))
    for library in LIBRARIES:
        source = Path(sysconfig.get_paths()["purelib"]) / library
        if source.is_dir():
            # Compiled parts belong to this machine's Python, not to the lab's; all of these do without.
            shutil.copytree(source, folder / "site" / library, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    shutil.copytree(ROOT / "examples" / "pixi-gpu", folder / "project")


@contextmanager
def builder(lab: Lab, name: str, *, user: str = "", root: str = "") -> Iterator[Builder]:
    """Give a new folder with hpcdeploy and the example project."""
    within = f"{root or lab.scratch}/{OWN}-{name}"
    folder = lab.seen(within)
    shutil.rmtree(folder, ignore_errors=True)
    copy_hpcdeploy(folder)
    one = Builder(lab, folder, within, user or lab.user)
    one.own()
    try:
        yield one
    finally:
        inside(lab, ["rm", "-rf", within])
