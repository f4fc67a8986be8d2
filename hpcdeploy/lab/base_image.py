"""The lab's base image ``prefix-dev/pixi:noble``: minimal Debian, a stand-in for pixi that says so, and a channel.

Two layers, each made once and kept in the cache: Debian's, named by its packages; and what the lab puts on top, named by
its content, so that a change of the stand-in costs a second. The image of that name in the world holds the real pixi on
Ubuntu; this one says in its labels, and `pixi --version` in its output, that it does not.
"""

import hashlib
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from hpcdeploy.errors import LabError
from hpcdeploy.lab import channel, mirror, oci, rootfs
from hpcdeploy.lab.inside import inside
from hpcdeploy.lab.pixi_standin import DESCRIPTION
from hpcdeploy.lab.state import Lab, locked

Report = Callable[[str], None]

REPOSITORY = "prefix-dev/pixi"
TAG = "noble"
SUITE = "trixie"
PACKAGES = ("ca-certificates", "python3")
UNNEEDED = (
    *("etc/apt/sources.list", "etc/apt/apt.conf.d/99mmdebstrap"),
    *("var/cache/debconf", "var/log/*", "usr/lib/*/gconv", "usr/lib/python3*/pydoc_data"),
)
"""Taken out of the finished root: this machine's mirror and apt options, then what only takes room."""

EMPTIED = ("etc/hostname", "etc/resolv.conf")
"""This machine's, too; the files stay, for Apptainer to mount those of the machine that a container runs on."""

LIBRARY = "py-rattler==0.28.0"
"""What the stand-in is built on; this release reads lock files of the versions 5, 6 and 7."""

STANDIN_FOLDER = "opt/pixi-standin"
CHANNEL_FOLDER = "opt/hpcdeploy-demo-channel"
PIXI_CONFIG = f"""\
# Where the lab keeps the channel of its example workspace.
[mirrors]
"{channel.URL}" = ["file:///{CHANNEL_FOLDER}"]
"""
LABELS = {
    "org.opencontainers.image.title": DESCRIPTION,
    "org.opencontainers.image.description": "Debian with a stand-in for pixi; the real pixi is not in it",
}
_SECONDS = channel.TIMESTAMP // 1000
_CREATED = "2025-11-20T00:00:00Z"


def reference(lab: Lab) -> str:
    """Return how image references name it: ``localhost:PORT/prefix-dev/pixi:noble``."""
    return f"{lab.registry}/{REPOSITORY}:{TAG}"


def prepare(cache: Path, report: Report) -> Path:
    """Return the image as an OCI layout, making what is missing of it; it needs no running lab.

    Raises `LabError` where Debian's packages or py-rattler cannot be fetched.
    """
    folder = cache / "base-image"
    with locked(cache / "base-image.lock", "waiting for another lab that makes the base image", report) as lock:
        debian = _debian(folder, report, lock)
        top = _top(folder, cache, report)
        target = folder / f"layout-{debian.digest[:12]}-{top.digest[:12]}"
        if not target.is_dir():
            draft = folder / "layout.part"
            shutil.rmtree(draft, ignore_errors=True)
            blobs = draft / "blobs" / "sha256"
            blobs.mkdir(parents=True)
            for layer in (debian, top):
                (blobs / layer.digest).hardlink_to(folder / "blobs" / "sha256" / layer.digest)
            oci.write_image(draft, (debian, top), name=TAG, labels=LABELS, created=_CREATED)
            draft.replace(target)
        return target


def publish(lab: Lab, report: Report) -> str:
    """Put the base image into the lab's registry where it is not there yet; return its manifest's sha256."""
    layout = prepare(lab.cache, report)
    digest = str(json.loads((layout / "index.json").read_text())["manifests"][0]["digest"])
    if _published(lab) == digest:
        return digest.removeprefix("sha256:")
    report(f"putting the base image into the registry as {reference(lab)}")
    with tempfile.TemporaryDirectory(dir=lab.inside) as place:
        shutil.copytree(layout, Path(place) / "image")
        source = f"oci:/lab/{Path(place).name}/image:{TAG}"
        options = ("--quiet", "--dest-tls-verify=false", "--preserve-digests")
        done = inside(lab, ["skopeo", "copy", *options, source, f"docker://{reference(lab)}"])
    if done.returncode:
        raise LabError(
            f"the base image could not be put into the lab's registry: {done.stderr.decode(errors='replace').strip()}"
        )
    return digest.removeprefix("sha256:")


def _published(lab: Lab) -> str:
    """Ask the registry which manifest the tag stands for; empty where it says none."""
    argv = ["skopeo", "inspect", "--tls-verify=false", "--no-tags", "--format={{.Digest}}", f"docker://{reference(lab)}"]
    return inside(lab, argv).stdout.decode().strip()


def debian_command(source: mirror.Mirror) -> list[str]:
    """Plan the mmdebstrap(1) command that writes Debian's files to standard output as a tar; the image holds no apt."""
    options = [f"--aptopt={option}" for option in ('Acquire::Languages "none"', *source.options)]
    options += [f"--dpkgopt=path-exclude={pattern}" for pattern in rootfs.EXCLUDED]
    tidy = " ".join(("rm -rf", *(f'"$1"/{pattern}' for pattern in UNNEEDED)))
    empty = "; ".join(f': > "$1"/{path}' for path in EMPTIED)
    return [
        *("unshare", "--mount", "--propagation", "private", "--"),
        *("mmdebstrap", "--mode=root", "--variant=essential", "--format=tar", "--skip=output/dev"),
        *options,
        f"--include={','.join(PACKAGES)}",
        f"--customize-hook={tidy}; {empty}",
        SUITE,
        "-",
        f"deb {source.site} {SUITE} main",
    ]


def _debian(folder: Path, report: Report, lock: int) -> oci.Layer:
    plan = json.dumps([debian_command(mirror.Mirror("")), platform.machine()])
    record = folder / f"debian-{hashlib.sha256(plan.encode()).hexdigest()[:12]}.json"
    if record.is_file():
        return oci.load(record)
    rootfs.ensure_programs(report)
    report("making the base image of minimal Debian; this takes half a minute or so")
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "mmdebstrap.log"
    with log.open("wb") as errors:
        made = subprocess.Popen(
            debian_command(rootfs.find_mirror()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            pass_fds=(lock,),
        )
        assert made.stdout is not None
        with made, made.stdout as tar:
            layer = oci.write_layer(tar, folder)
    if made.returncode:
        (folder / "blobs" / "sha256" / layer.digest).unlink(missing_ok=True)
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise LabError(f"mmdebstrap ended with {made.returncode}; all it said is in {log}, which ends:\n{tail}")
    oci.save(layer, record)
    return layer


def _top(folder: Path, cache: Path, report: Report) -> oci.Layer:
    members = sorted([*_standin_files(), *_channel_files()])
    content = hashlib.sha256(LIBRARY.encode())
    for name, data, mode in members:
        content.update(f"{name}\0{mode}\0{len(data)}\0".encode() + data)
    record = folder / f"top-{content.hexdigest()[:12]}.json"
    if record.is_file():
        return oci.load(record)
    folder.mkdir(parents=True, exist_ok=True)
    members += _library_files(_library(cache, report))
    layer = oci.write_layer(oci.pack(members, _SECONDS), folder)
    oci.save(layer, record)
    return layer


def _standin_files() -> Iterator[tuple[str, bytes, int]]:
    """Tell the stand-in's own files: the package, its parents' ``__init__``, and the program that starts it."""
    package = Path(__file__).with_name("pixi_standin")
    top = package.parents[1]
    for path in (top / "__init__.py", top / "lab" / "__init__.py", *package.glob("*.py")):
        yield f"{STANDIN_FOLDER}/hpcdeploy/{path.relative_to(top)}", path.read_bytes(), 0o644
    yield "usr/local/bin/pixi", (package / "pixi").read_bytes(), 0o755
    yield "etc/pixi/config.toml", PIXI_CONFIG.encode(), 0o644


def _channel_files() -> Iterator[tuple[str, bytes, int]]:
    with tempfile.TemporaryDirectory() as place:
        channel.write(Path(place))
        for path in Path(place).rglob("*"):
            if path.is_file():
                yield f"{CHANNEL_FOLDER}/{path.relative_to(place)}", path.read_bytes(), 0o644


def _library_files(wheel: Path) -> list[tuple[str, bytes, int]]:
    with zipfile.ZipFile(wheel) as archive:
        return [
            (f"{STANDIN_FOLDER}/{name}", archive.read(name), 0o644) for name in archive.namelist() if not name.endswith("/")
        ]


def _library(cache: Path, report: Report) -> Path:
    """Return the wheel of py-rattler, fetched with this machine's own settings for pip."""
    folder = cache / "wheels"
    pattern = f"{LIBRARY.replace('==', '-').replace('py-', 'py_')}-*.whl"
    if not any(folder.glob(pattern)):
        report(f"fetching {LIBRARY} from the Python package index")
        with tempfile.TemporaryDirectory(dir=cache) as place:
            pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:")
            argv = [*pip, "--dest", place, LIBRARY]
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
            if done.returncode:
                raise LabError(
                    f"pip could not fetch {LIBRARY}, which the lab's stand-in for pixi needs:\n{done.stderr.strip()[-2000:]}"
                )
            folder.mkdir(parents=True, exist_ok=True)
            for wheel in Path(place).glob("*.whl"):
                wheel.replace(folder / wheel.name)
    return next(folder.glob(pattern))
