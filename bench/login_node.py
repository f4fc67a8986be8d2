"""Measure a submission on the login node itself: hpcdeploy is installed there, and needs no connection."""

import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

from bench.pairs import Pair, Taken, compare, take
from bench.place import CLUSTER, EXAMPLE, Place
from bench.subjects import HELD, held_sbatch
from hpcdeploy.store import Store, default_path
from hpcdeploy_lab.inside import inside, inside_argv
from hpcdeploy_lab.state import Lab

ROOT = Path(__file__).parent.parent


def submitting_there(place: Place, lab: Lab, *, pairs: int) -> Pair:
    """Compare submitting a held job on the login node with ``sbatch`` there."""
    folder = f"{lab.scratch}/bench"
    site = f"{folder}/site-packages"
    folders = dict.fromkeys(("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), folder)
    variables = {**folders, "PYTHONPATH": site}
    install(lab, site)
    _prepare(place, lab, folder, variables)

    def run(*argv: str) -> Taken:
        """Run a command in the project's copy; its time does not include that of entering the lab."""
        interpreter = inside_argv(lab, ["env", "-C", f"{folder}/project", "python3"], user=lab.user, environment=variables)
        return take(argv, interpreter=interpreter)

    ours = partial(run, "python3", "-m", "hpcdeploy", *HELD, "--", "true")
    theirs = partial(run, *held_sbatch(lab))
    return compare("hpcdeploy submit on the login node", "sbatch", ours, theirs, pairs=pairs)


def install(lab: Lab, site: str) -> None:
    """Install hpcdeploy and its dependencies into the folder `site` of the lab, for the lab's Python."""
    asked = inside(lab, ["python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"])
    version = asked.stdout.decode().strip()
    target = lab.seen(site)
    wheels = target / "wheels"
    _pip("wheel", "--no-deps", "--wheel-dir", wheels, ROOT)
    _pip("install", "--only-binary=:all:", "--python-version", version, "--target", target, *wheels.glob("*.whl"))


def _prepare(place: Place, lab: Lab, folder: str, variables: dict[str, str]) -> None:
    """Copy the project into the lab, record its image, and write settings whose cluster is the login node."""
    seen = lab.seen(folder)
    shutil.copytree(EXAMPLE, seen / "project")
    settings = seen / "hpcdeploy" / "config.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(f'[clusters.{CLUSTER}]\nhost = "local"\nroot = "{place.root}"\n', encoding="utf-8")
    record = default_path({**variables, "XDG_STATE_HOME": str(seen)})
    Store(record).built(Path(folder) / "project", place.image)
    inside(lab, ["chown", "-R", f"{lab.user}:", folder]).check_returncode()


def _pip(*words: str | Path) -> None:
    pip = [sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check"]
    subprocess.run([*pip, *words], stdin=subprocess.DEVNULL, stdout=sys.stderr, check=True)
