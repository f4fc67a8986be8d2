"""Build the lab's own conda channel with three small packages. A lock file contains their checksums.

The packages have the kinds of content of a real channel: a program, a requirement of a CUDA driver, and activation scripts.
The program is a shell script. No package contains an interpreter or a CUDA library.

The packages are the same bytes on every machine: times are fixed, members are sorted, and the archives are compressed with
bzip2. bzip2 has only one implementation (libbz2), whose output does not change between releases, unlike zlib and zstd. A
test compares the checksums with the example's lock file.

Format: conda's package specification (``info/index.json``, ``info/paths.json``).
"""

import bz2
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

URL = "https://conda.example.org/hpcdeploy-demo"
"""The channel's address in workspaces. ``example.org`` is reserved (RFC 2606), so pixi needs a mirror for this address."""

SUBDIR = "noarch"
TIMESTAMP = 1_763_596_800_000
"""Build time in every package: 2025-11-20, in milliseconds since 1970, conda's unit."""

PLACEHOLDER = "/hpcdeploy-demo-placeholder" + "_placehold" * 8
"""Placeholder in packaged files for the installation folder; the installer replaces it."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file of a package; if it is ``prefixed``, it contains `PLACEHOLDER`."""

    content: bytes
    executable: bool = False
    prefixed: bool = False


@dataclass(frozen=True, kw_only=True)
class Package:
    """The content of one package."""

    name: str
    version: str
    files: Mapping[str, Member]
    depends: tuple[str, ...] = ()
    build: str = "0"

    @property
    def file_name(self) -> str:
        """Return the archive's name in the channel."""
        return f"{self.name}-{self.version}-{self.build}.tar.bz2"


def _script(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


PACKAGES = (
    Package(
        name="hpcdeploy-demo-activation",
        version="1.0.0",
        files={
            "etc/conda/activate.d/hpcdeploy-demo.sh": Member(
                content=_script(
                    '# Read when the environment is activated (conda\'s "activate.d").',
                    'export DEMO_ACTIVATED="hpcdeploy-demo-activation 1.0.0"',
                    'export DEMO_PREFIX="${CONDA_PREFIX:-}"',
                )
            ),
            "etc/conda/deactivate.d/hpcdeploy-demo.sh": Member(content=_script("unset DEMO_ACTIVATED DEMO_PREFIX")),
        },
    ),
    Package(
        name="hpcdeploy-demo-cuda",
        version="12.9.0",
        depends=("__cuda >=12",),
        files={
            "share/hpcdeploy-demo/cuda.txt": Member(
                content=_script(
                    "No CUDA library is in this package: it only asks for a driver of CUDA 12 or later (__cuda >=12)."
                )
            )
        },
    ),
    Package(
        name="hpcdeploy-demo-runtime",
        version="1.2.0",
        depends=("hpcdeploy-demo-activation >=1,<2",),
        files={
            "bin/hpcdeploy-demo": Member(
                executable=True,
                prefixed=True,
                content=_script(
                    "#!/bin/sh",
                    "# The demo's program: says where it was installed, and that its environment is active.",
                    f'prefix="{PLACEHOLDER}"',
                    'printf "hpcdeploy-demo 1.2.0, installed in %s\\n" "$prefix"',
                    'printf "activated by: %s\\n" "${DEMO_ACTIVATED:-nobody}"',
                ),
            ),
            "share/hpcdeploy-demo/version.txt": Member(content=_script("1.2.0")),
        },
    ),
)


def build(package: Package) -> bytes:
    """Return a package's archive."""
    paths = [_path_entry(name, member) for name, member in sorted(package.files.items())]
    members = {
        "info/about.json": Member(content=_json({"license": "Apache-2.0", "summary": "Made for hpcdeploy's lab"})),
        "info/files": Member(content=_script(*sorted(package.files))),
        "info/index.json": Member(content=_json(_index(package))),
        "info/paths.json": Member(content=_json({"paths": paths, "paths_version": 1})),
        **package.files,
    }
    return bz2.compress(_tar(sorted(members.items())), 9)


def write(folder: Path, packages: Iterable[Package] = PACKAGES) -> None:
    """Write the channel into `folder`: the packages in ``noarch/``, and the indexes of both subfolders."""
    entries = {}
    for package in packages:
        data = build(package)
        path = folder / SUBDIR / package.file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        entries[package.file_name] = {**_index(package), **checksums(data)}
    for subdir, found in ((SUBDIR, entries), ("linux-64", {})):
        (folder / subdir).mkdir(parents=True, exist_ok=True)
        index = {"info": {"subdir": subdir}, "packages": found, "packages.conda": {}, "repodata_version": 1}
        (folder / subdir / "repodata.json").write_bytes(_json(index))


def checksums(data: bytes) -> dict[str, str | int]:
    """Return an archive's ``md5``, ``sha256``, and ``size`` in bytes, as in repodata and lock files."""
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return {"md5": md5, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


def _index(package: Package) -> dict[str, object]:
    return {
        "build": package.build,
        "build_number": 0,
        "depends": list(package.depends),
        "license": "Apache-2.0",
        "name": package.name,
        "noarch": "generic",
        "subdir": SUBDIR,
        "timestamp": TIMESTAMP,
        "version": package.version,
    }


def _path_entry(name: str, member: Member) -> dict[str, object]:
    entry: dict[str, object] = {
        "_path": name,
        "path_type": "hardlink",
        "sha256": hashlib.sha256(member.content).hexdigest(),
        "size_in_bytes": len(member.content),
    }
    if member.prefixed:
        entry |= {"file_mode": "text", "prefix_placeholder": PLACEHOLDER}
    return entry


def _tar(members: Iterable[tuple[str, Member]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, member in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(member.content)
            entry.mode = 0o755 if member.executable else 0o644
            entry.mtime = TIMESTAMP // 1000
            archive.addfile(entry, io.BytesIO(member.content))
    return buffer.getvalue()


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True).encode() + b"\n"
