"""Compare builds of an image of 1 GB with ``apptainer build``: nothing changed, one line of code changed, and all of it.

The builds run on the lab's login node, where there is an Apptainer. The base image has real packages: wheels from PyPI.
"""

import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path

from bench.login_node import install
from bench.pairs import Pair, Taken, compared, take
from hpcdeploy.image import GZIP, ZSTD, Compression
from hpcdeploy_lab import base_image, oci
from hpcdeploy_lab.inside import inside, inside_argv
from hpcdeploy_lab.state import Lab

PACKAGES = (
    *("tomli==2.2.1", "pyarrow==20.0.0", "scipy==1.15.3", "numba==0.61.2", "llvmlite==0.44.0", "polars==1.30.0"),
    *("opencv-python-headless==4.11.0.86", "onnxruntime==1.22.0", "scikit-learn==1.6.1", "pandas==2.2.3", "numpy==2.2.6"),
    *("statsmodels==0.14.4", "matplotlib==3.10.3", "h5py==3.13.0", "xgboost-cpu==3.0.2", "duckdb==1.3.0", "grpcio==1.72.1"),
    *("scikit-image==0.25.2", "spacy==3.8.7", "cryptography==45.0.3", "ray==2.46.0", "botocore==1.38.23", "sympy==1.14.0"),
)
"""The packages of the environment; the first one is small. They have more than 1 GB when they are installed."""

PYTHON = "3.11"
"""The wheels are for this Python. None of them is imported."""

_REPOSITORY = "bench/environment"
_SETTINGS = '[image]\noci = "{reference}"\nfiles = {{ app = "/opt/app" }}\n'


class Builds:
    """A project on the lab's login node, whose image can be built again and again."""

    def __init__(self, lab: Lab, packages: Sequence[str]) -> None:
        self._lab = lab
        self.folder = f"{lab.scratch}/bench-builds"
        folders = dict.fromkeys(("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), self.folder)
        self._variables = {**folders, "PYTHONPATH": f"{self.folder}/site-packages", "APPTAINER_NOHTTPS": "1"}
        self._changes = count()
        reference = _push_environment(lab, packages)
        self._project = lab.seen(self.folder) / "project"
        (self._project / "app").mkdir(parents=True)
        (self._project / "hpcdeploy.toml").write_text(_SETTINGS.format(reference=reference))
        self.change_code()
        shutil.copytree(self._project / "app", self._project / "files" / "0" / "app")  # for Apptainer alone
        install(lab, f"{self.folder}/site-packages")
        inside(lab, ["chown", "-R", f"{lab.user}:", self.folder]).check_returncode()

    def change_code(self) -> None:
        """Change a line of the project's code."""
        (self._project / "app" / "train.py").write_text(f"print({next(self._changes)})\n")

    def take(self, *argv: str) -> Taken:
        """Run a command in the project; its time does not include that of entering the lab."""
        words = ["env", "-C", f"{self.folder}/project", "python3"]
        return take(argv, interpreter=inside_argv(self._lab, words, user=self._lab.user, environment=self._variables))

    def hpcdeploy(self, *words: str) -> Taken:
        """Run ``hpcdeploy``."""
        return self.take("python3", "-m", "hpcdeploy", *words)

    def apptainer(self, compression: Compression) -> Taken:
        """Build the same definition with Apptainer alone."""
        options = f"--mksquashfs-args={' '.join(compression.options)}"
        return self.take("apptainer", "build", "--force", options, "plain.sif", "image.def")

    def size(self, name: str) -> int:
        """Return the size of a file of the project in bytes."""
        return (self._project / name).stat().st_size


def building(lab: Lab, *, packages: Sequence[str], pairs: int) -> Iterator[Pair]:
    """Compare builds with ``apptainer build`` of the same definition. Apptainer's cache has all layers of the base image."""
    builds = Builds(lab, packages)
    builds.hpcdeploy("generate", "-o", "image.def")
    builds.hpcdeploy("build", "--builder", "apptainer", "-o", "image.sif")
    gzip, zstd = (builds.apptainer(one) for one in (GZIP, ZSTD))
    direct = [builds.hpcdeploy("build", "--builder", "direct", "-o", "direct.sif", "--force") for _ in range(max(1, pairs))]
    megabytes = builds.size("direct.sif") // 10**6
    for name, theirs in ((_named(GZIP), gzip), (_named(ZSTD), zstd)):
        ours_named = f"hpcdeploy build --builder direct, {megabytes} MB, {_named(ZSTD)}"
        yield compared(ours_named, f"apptainer build, {name}", [(ours, theirs) for ours in direct])
    unchanged = [builds.hpcdeploy("build", "-o", "direct.sif") for _ in range(pairs)]
    yield compared(
        "hpcdeploy build, nothing changed", f"apptainer build, {_named(ZSTD)}", [(one, zstd) for one in unchanged]
    )
    changed = [
        (_one_line(builds), builds.take("sh", "-c", "cp direct.sif copy.sif && sha256sum copy.sif")) for _ in range(pairs)
    ]
    one_line = "hpcdeploy build, one line of code changed"
    yield compared(one_line, f"apptainer build, {_named(ZSTD)}", [(ours, zstd) for ours, _ in changed])
    yield compared(one_line, "cp and sha256sum of the image", changed)
    start = partial(builds.take, "apptainer", "exec")
    yield compared(
        "apptainer exec of an image of the direct builder",
        "apptainer exec of an image of Apptainer",
        [(start("direct.sif", "true"), start("plain.sif", "true")) for _ in range(pairs + 1)][1:],
    )


def _one_line(builds: Builds) -> Taken:
    builds.change_code()
    return builds.hpcdeploy("build", "-o", "direct.sif")


def _named(compression: Compression) -> str:
    return f"{compression.name} {compression.level}"


def _push_environment(lab: Lab, packages: Sequence[str]) -> str:
    """Push an image with the packages to the lab's registry; return its reference."""
    layout = base_image.prepare(lab.cache, _say)
    [entry] = json.loads((layout / "index.json").read_text())["manifests"]
    manifest = json.loads((layout / _blob(entry["digest"])).read_text())
    config = json.loads((layout / _blob(manifest["config"]["digest"])).read_text())
    lowest = manifest["layers"][0]
    debian = oci.Layer(
        digest=lowest["digest"].removeprefix("sha256:"),
        diff_id=config["rootfs"]["diff_ids"][0].removeprefix("sha256:"),
        size=lowest["size"],
    )
    with tempfile.TemporaryDirectory(dir=lab.state) as place:
        folder = Path(place)
        _install_packages(folder / "packages", packages)
        with tempfile.TemporaryFile(dir=lab.state) as tar:
            with tarfile.open(fileobj=tar, mode="w") as archive:
                archive.add(folder / "packages", "opt/packages")
            shutil.rmtree(folder / "packages")
            tar.seek(0)
            layer = oci.write_layer(tar, folder)
        (folder / _blob(lowest["digest"])).hardlink_to(layout / _blob(lowest["digest"]))
        oci.write_image(folder, (debian, layer), name="v1", labels={}, created="2026-01-01T00:00:00Z")
        base_image.push(lab, folder, f"{_REPOSITORY}:v1", _say)
    return f"{lab.registry}/{_REPOSITORY}:v1"


def _install_packages(target: Path, packages: Sequence[str]) -> None:
    options = ("--no-deps", "--no-compile", "--only-binary=:all:", "--python-version", PYTHON, "--target", str(target))
    pip = [sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check", "install", *options, *packages]
    subprocess.run(pip, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=True)


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
