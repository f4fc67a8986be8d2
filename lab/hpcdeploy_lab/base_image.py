"""Build the lab's base image ``prefix-dev/pixi``: minimal Debian, a stand-in for pixi, and a conda channel.

The image has two layers. Each layer is built once and kept in the cache, with a record of its digests. The record's name
contains a hash:

- For Debian's layer, the hash of the command that builds the layer, and of the processor architecture.
- For the layer with the lab's own files, the hash of these files and of `LIBRARY`.

So after a change of the stand-in only the second layer is built again, which takes a second.

The public image ``prefix-dev/pixi`` contains the real pixi on Ubuntu. The labels of the lab's image, and the output of
`pixi --version` in it, state that it does not contain the real pixi. The lab's registry has this one image under each tag
that hpcdeploy can choose for a base image. It contains no CUDA, even under tags such as ``noble-cuda-12.9.1``. The registry
also has an image with the same Debian, but without Python.
"""

import hashlib
import importlib.util
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from hpcdeploy.definition.base_images import load_bases
from hpcdeploy.errors import LabError
from hpcdeploy_lab import channel, mirror, oci, rootfs, wheel
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.pixi_standin import DESCRIPTION
from hpcdeploy_lab.state import Lab, locked

Report = Callable[[str], None]

REPOSITORY = "prefix-dev/pixi"
TAG = "noble"
SLIM = "library/debian:trixie-slim"
SUITE = "trixie"
PACKAGES = ("ca-certificates", "mount", "python3")
"""Packages in addition to those that are essential in Debian. The public images of Debian and Ubuntu contain mount(8) too,
because its package has the priority ``required``."""

UNNEEDED = (
    *("etc/apt/sources.list", "etc/apt/apt.conf.d/99mmdebstrap"),
    *("var/cache/debconf", "var/log/*", "usr/lib/*/gconv", "usr/lib/python3*/pydoc_data"),
)
"""Files to remove from the finished root: this machine's mirror and apt options, and files that no test needs."""

EMPTIED = ("etc/hostname", "etc/resolv.conf")
"""Files to empty, because mmdebstrap copies them from this machine. They must exist, so that Apptainer can mount the files
of a container's own machine over them."""

LIBRARY = "py-rattler==0.28.0"
"""The library that the stand-in uses; this release reads lock files of the versions 5, 6 and 7."""

STANDIN_FOLDER = "opt/pixi-standin"
CHANNEL_FOLDER = "opt/hpcdeploy-demo-channel"
WHEEL_FOLDER = "opt/hpcdeploy-demo-wheels"
PIXI_CONFIG = f"""\
# Where the lab keeps the channel of its example workspace, and its one wheel.
[mirrors]
"{channel.URL}" = ["file:///{CHANNEL_FOLDER}"]
"{wheel.SITE}" = ["file:///{WHEEL_FOLDER}"]
"""
LABELS = {
    "org.opencontainers.image.title": DESCRIPTION,
    "org.opencontainers.image.description": "Debian with a stand-in for pixi; the real pixi is not in it",
}
SLIM_LABELS = {
    "org.opencontainers.image.title": "Debian without Python, from the hpcdeploy lab",
    "org.opencontainers.image.description": "a final base without pixi and without Python",
}
_SECONDS = channel.TIMESTAMP // 1000
_CREATED = "2025-11-20T00:00:00Z"


def reference(lab: Lab) -> str:
    """Return the reference of the base image: ``localhost:PORT/prefix-dev/pixi:noble``."""
    return f"{lab.registry}/{REPOSITORY}:{TAG}"


def prepare(cache: Path, report: Report) -> Path:
    """Build the missing parts of the base image, and return the folder of its OCI layout.

    This does not need a running lab.

    Raises:
        LabError: Debian's packages or py-rattler cannot be fetched, or tomli is not installed as pure Python.
    """
    return _layout(cache, report, "layout", TAG, LABELS)


def prepare_slim(cache: Path, report: Report) -> Path:
    """Build the Debian image without Python, and return the folder of its OCI layout.

    Raises:
        LabError: Debian's packages cannot be fetched.
    """
    return _layout(cache, report, "slim", SLIM.rpartition(":")[2], SLIM_LABELS)


def _layout(cache: Path, report: Report, kind: str, name: str, labels: Mapping[str, str]) -> Path:
    folder = cache / "base-image"
    with locked(cache / "base-image.lock", "waiting for another lab that builds the base image", report) as lock:
        layers = (
            _debian(folder, report, lock),
            _top(folder, cache, report) if kind == "layout" else _without_python(folder),
        )
        target = folder / "-".join((kind, *(layer.digest[:12] for layer in layers)))
        if not target.is_dir():
            draft = folder / f"{kind}.part"
            shutil.rmtree(draft, ignore_errors=True)
            blobs = draft / "blobs" / "sha256"
            blobs.mkdir(parents=True)
            for layer in layers:
                (blobs / layer.digest).hardlink_to(folder / "blobs" / "sha256" / layer.digest)
            oci.write_image(draft, layers, name=name, labels=labels, created=_CREATED)
            draft.replace(target)
        return target


def tags() -> tuple[str, ...]:
    """Return the tags of the base image: all tags that hpcdeploy can choose as base of a Pixi environment."""
    return (TAG, *(tag for _, tag in load_bases().cuda))


def publish(lab: Lab, report: Report) -> str:
    """Push the images that the lab's registry lacks; return the sha256 of the base image's manifest.

    Raises:
        LabError: An image cannot be built or pushed.
    """
    layout = prepare(lab.cache, report)
    for tag in tags():
        push(lab, layout, f"{REPOSITORY}:{tag}", report)
    push(lab, prepare_slim(lab.cache, report), SLIM, report)
    return _digest(layout).removeprefix("sha256:")


def push(lab: Lab, layout: Path, name: str, report: Report) -> None:
    """Push the image of an OCI layout to the lab's registry as `name` (``PATH:TAG``), unless the registry has it.

    Raises:
        LabError: The image cannot be pushed.
    """
    digest = _digest(layout)
    if _published(lab, name) == digest:
        return
    report(f"pushing a base image to the registry as {lab.registry}/{name}")
    with tempfile.TemporaryDirectory(dir=lab.inside) as place:
        shutil.copytree(layout, Path(place) / "image")
        source = f"oci:/lab/{Path(place).name}/image"
        options = ("--quiet", "--dest-tls-verify=false", "--preserve-digests")
        done = inside(lab, ["skopeo", "copy", *options, source, f"docker://{lab.registry}/{name}"])
    if done.returncode:
        raise LabError(
            f"the base image could not be pushed to the lab's registry: {done.stderr.decode(errors='replace').strip()}"
        )


def _digest(layout: Path) -> str:
    return str(json.loads((layout / "index.json").read_text())["manifests"][0]["digest"])


def _published(lab: Lab, name: str) -> str:
    """Return the digest of the manifest that the registry has under `name`; empty if it has no such manifest."""
    address = f"docker://{lab.registry}/{name}"
    argv = ["skopeo", "inspect", "--tls-verify=false", "--no-tags", "--format={{.Digest}}", address]
    return inside(lab, argv).stdout.decode().strip()


def debian_command(source: mirror.Mirror) -> list[str]:
    """Return the mmdebstrap(1) command that writes Debian's files to standard output as a tar.

    The image has no apt.
    """
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
    report("building the base image of minimal Debian; this takes about 30 s")
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
        raise LabError(f"mmdebstrap ended with {made.returncode}; its output is in {log}, which ends with:\n{tail}")
    oci.save(layer, record)
    return layer


def _top(folder: Path, cache: Path, report: Report) -> oci.Layer:
    own_wheel = (f"{WHEEL_FOLDER}/{wheel.FILE}", wheel.build(), 0o644)
    members = sorted([*_standin_files(), *_toml_files(), *_channel_files(), own_wheel])
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


def _without_python(folder: Path) -> oci.Layer:
    """Build a layer that hides Debian's Python: a file ``.wh.NAME`` hides the file NAME (OCI image layer specification)."""
    names = ("usr/bin/.wh.python3", "usr/bin/.wh.python3.13", "usr/lib/.wh.python3", "usr/lib/.wh.python3.13")
    return oci.write_layer(oci.pack([(name, b"", 0o644) for name in names], _SECONDS), folder)


def _standin_files() -> Iterator[tuple[str, bytes, int]]:
    """Yield the stand-in's own files: its package with the parent's ``__init__``, its start script, and pixi's settings."""
    package = Path(__file__).with_name("pixi_standin")
    top = package.parent
    for path in (top / "__init__.py", *package.glob("*.py")):
        yield f"{STANDIN_FOLDER}/hpcdeploy_lab/{path.relative_to(top)}", path.read_bytes(), 0o644
    yield "usr/local/bin/pixi", (package / "pixi").read_bytes(), 0o755
    yield "etc/pixi/config.toml", PIXI_CONFIG.encode(), 0o644


def _toml_files() -> Iterator[tuple[str, bytes, int]]:
    """Yield the pure Python files of tomli, with which the stand-in reads TOML 1.1, from this machine's installation.

    tomli's compiled modules are not used, because they are for this machine's Python. Each compiled module has its source
    file in the same folder.

    Raises:
        LabError: tomli is not installed, or without its source files.
    """
    found = importlib.util.find_spec("tomli")
    folders = (found.submodule_search_locations if found else None) or []
    files = [path for folder in folders for path in sorted(Path(folder).glob("*.py"))]
    if not any(path.name == "_parser.py" for path in files):
        raise LabError(
            "the lab's stand-in for pixi needs tomli as pure Python, which is not installed; run pip install tomli"
        )
    for path in files:
        yield f"{STANDIN_FOLDER}/tomli/{path.name}", path.read_bytes(), 0o644


def _channel_files() -> Iterator[tuple[str, bytes, int]]:
    with tempfile.TemporaryDirectory() as place:
        channel.write(Path(place))
        for path in Path(place).rglob("*"):
            if path.is_file():
                yield f"{CHANNEL_FOLDER}/{path.relative_to(place)}", path.read_bytes(), 0o644


def _library_files(library: Path) -> list[tuple[str, bytes, int]]:
    with zipfile.ZipFile(library) as archive:
        return [
            (f"{STANDIN_FOLDER}/{name}", archive.read(name), 0o644) for name in archive.namelist() if not name.endswith("/")
        ]


def _library(cache: Path, report: Report) -> Path:
    """Return the path of py-rattler's wheel; pip fetches it with its settings on this machine.

    Raises:
        LabError: pip cannot fetch the wheel.
    """
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
            for fetched in Path(place).glob("*.whl"):
                fetched.replace(folder / fetched.name)
    return next(folder.glob(pattern))
