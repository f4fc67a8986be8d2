"""Install a locked environment with py-rattler: verify checksums, replace prefixes, write ``conda-meta``."""

import asyncio
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote, urlsplit

from rattler import Client, RepoDataRecord, install
from rattler.exceptions import InstallerError
from rattler.networking import MirrorMiddleware, RetryMiddleware

from hpcdeploy_lab.pixi_standin import DESCRIPTION, VERSION, StandInError
from hpcdeploy_lab.pixi_standin.locking import Locked, refuse_others
from hpcdeploy_lab.pixi_standin.machine import cache_folder, mirrored, mirrors
from hpcdeploy_lab.pixi_standin.python_packages import install_python_packages, locate
from hpcdeploy_lab.pixi_standin.workspace import Workspace

IGNORE_FILES = {".gitignore": "*\n!config.toml\n", ".condapackageignore": ".pixi\n!.pixi/config.toml\n"}
"""Files that pixi writes into ``.pixi``, so that neither git nor a package of the workspace includes the environments."""


def is_installed(workspace: Workspace, name: str, content: Locked) -> bool:
    """Tell whether an environment is installed with the locked content.

    As in pixi, the file ``conda-meta/pixi`` contains a hash of the installed content.
    """
    mark = _mark(workspace, name)
    return mark.is_file() and json.loads(mark.read_text()).get("environment_lock_file_hash") == content.digest


def install_environment(workspace: Workspace, name: str, content: Locked) -> None:
    """Install exactly the locked packages of an environment.

    Raises:
        StandInError: A package is missing, has a wrong checksum, or cannot be installed.
        RefusedError: A package would have to be built from source.
    """
    refuse_others(content)
    table = mirrors(workspace.root)
    python = locate(content.python, workspace.root, table)
    prefix = workspace.prefix(name)
    prefix.mkdir(parents=True, exist_ok=True)
    for file, text in IGNORE_FILES.items():
        if not (workspace.root / ".pixi" / file).exists():
            (workspace.root / ".pixi" / file).write_text(text)
    _mark(workspace, name).unlink(missing_ok=True)
    addresses = [record.url for record in content.records]
    try:
        # py-rattler does not verify the checksum of a package from a file (tested with 0.28), and its cache identifies the
        # package only by its name. So `_redirect_to_files` verifies the checksums, and the cache is private.
        with TemporaryDirectory(prefix="pixi-standin-") as private:
            from_files = _redirect_to_files(content.records, table)
            cache = Path(private) if from_files else cache_folder()
            asyncio.run(_install(content.records, prefix, cache, table))
    except InstallerError as error:
        raise StandInError(f"failed to install the environment '{name}': {error}") from error
    finally:
        originals = dict(zip((record.url for record in content.records), addresses, strict=True))
        for record, address in zip(content.records, addresses, strict=True):
            record.url = address
    _restore_addresses(prefix, originals)
    install_python_packages(python, prefix)
    _write_mark(workspace, name, content)


async def _install(
    records: Sequence[RepoDataRecord], prefix: Path, cache: Path, table: Mapping[str, tuple[str, ...]]
) -> None:
    remote = {f"{address}/": [f"{place.rstrip('/')}/" for place in places] for address, places in table.items()}
    client = Client([RetryMiddleware(), MirrorMiddleware(remote)], user_agent=f"pixi-standin/{VERSION}")
    await install(list(records), prefix, cache_dir=cache, client=client, show_progress=False, execute_link_scripts=False)


def _redirect_to_files(records: Sequence[RepoDataRecord], table: Mapping[str, tuple[str, ...]]) -> bool:
    """Change the URLs of records that a ``file://`` mirror has, after verifying checksums; return whether one was changed.

    Raises:
        StandInError: No mirror of a record's channel has the package, or its checksum is wrong.
    """
    redirected = False
    for record in records:
        places = [place for place in mirrored(record.url, table) if place.startswith("file://")]
        if not places:
            continue
        held = [(place, path) for place in places if (path := Path(unquote(urlsplit(place).path))).is_file()]
        if not held:
            raise StandInError(f"{record.file_name} is in no mirror of its channel: {', '.join(places)}")
        place, path = held[0]
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        wanted = (record.sha256 or b"").hex()
        if found != wanted:
            raise StandInError(
                f"the sha256 of {place} is {found}, but the lock file has {wanted or 'none'}; nothing was installed"
            )
        record.url = place
        redirected = True
    return redirected


def _restore_addresses(prefix: Path, originals: Mapping[str, str]) -> None:
    """Replace the mirrors' addresses in ``conda-meta`` by those of the channels, which pixi records there too."""
    for path in (prefix / "conda-meta").glob("*.json"):
        record = json.loads(path.read_text())
        if record.get("url") in originals:
            record["url"] = originals[record["url"]]
            for key in ("extracted_package_dir", "link"):
                record.pop(key, None)
            path.write_text(json.dumps(record, indent=2))


def _mark(workspace: Workspace, name: str) -> Path:
    return workspace.prefix(name) / "conda-meta" / "pixi"


def _write_mark(workspace: Workspace, name: str, content: Locked) -> None:
    value = {
        "manifest_path": os.fspath(workspace.manifest),
        "environment_name": name,
        "pixi_version": f"{VERSION} ({DESCRIPTION})",
        "environment_lock_file_hash": content.digest,
        "platform": platform.name if (platform := workspace.environment(name).platform) else "",
    }
    _mark(workspace, name).write_text(json.dumps(value, indent=2))
