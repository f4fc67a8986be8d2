"""List, remove and verify what hpcdeploy keeps on a cluster to build and submit faster (``login/cached.sh``)."""

import re
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from hpcdeploy import limits, shell
from hpcdeploy.cache_items import KINDS, VERDICTS, CacheItem
from hpcdeploy.checked_values import LARGEST, read_json, whole_number
from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import SchedulerError
from hpcdeploy.remote.script_parts import FILES
from hpcdeploy.remote.session import Session
from hpcdeploy.scheduler.contract import read_sections
from hpcdeploy.shell_script import Script, Setup, Value, paths_function
from hpcdeploy.templates import refuse_former

Action = Literal["list", "remove", "verify"]

_NAME = re.compile(r"[0-9A-Za-z._/-]{1,200}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_KIB = 1024

_TITLES = {
    "list": "List what hpcdeploy keeps on this cluster.",
    "remove": "Remove what hpcdeploy keeps on this cluster, except what a job or a build uses.",
    "verify": "Compare the images in the image cache with their checksums.",
}


def manage(
    session: Session, action: Action, wanted: Sequence[CacheItem] = (), *, dry_run: bool = False
) -> tuple[CacheItem, ...]:
    """List, remove or verify the items of a cluster's cache, and return them with their verdicts.

    Args:
        session: A session with the cluster.
        action: ``list``; ``remove``: remove the items `wanted`; ``verify``: compare all images with their checksums, and
            move damaged images aside.
        wanted: The items to remove, as ``list`` returned them.
        dry_run: Move no damaged image.

    Raises:
        SchedulerError: The script failed, or its output cannot be parsed; then items may have been removed.
        TransportError: The connection failed.
    """
    fence = secrets.token_hex(8)
    script = managing(session.cluster, action, wanted, fence, dry_run=dry_run, overrides=session.overrides)
    result = session.run(script, limit=limits.CLEANING)
    if result.exit_code:
        raise SchedulerError(f"{result.where}: {result.message}")
    return tuple(read_items(read_sections(result.stdout, fence, "items")["items"].content))


def read_items(content: bytes) -> Iterator[CacheItem]:
    """Yield the items in the script's output; malformed lines are left out.

    Raises:
        SchedulerError: There are more than `hpcdeploy.limits.MOST_CLEANED` lines.
    """
    for number, line in enumerate(limits.text_lines(content.decode("utf-8", "replace"))):
        if number >= limits.MOST_CLEANED:
            raise SchedulerError(f"the cache has more than {limits.MOST_CLEANED} items")
        words = line.split(" ", 5)
        if len(words) < 5 or words[0] not in KINDS or words[1] not in VERDICTS or not _NAME.fullmatch(words[4]):
            continue
        kib, used = whole_number(words[2], LARGEST // _KIB), whole_number(words[3], LARGEST)
        if kib is None or used is None:
            continue
        about = _about(words[5] if len(words) > 5 else "")
        yield CacheItem(
            kind=words[0],
            name=words[4],
            verdict=words[1],
            size=kib * _KIB,
            used=used,
            image=about.get("name", "") or about.get("image", ""),
            project=about.get("project", ""),
            key=_digest(about.get("inputs", "")),
            environment=_digest(about.get("environment", "")),
        )


def managing(
    cluster: Cluster,
    action: Action,
    wanted: Sequence[CacheItem],
    fence: str,
    *,
    dry_run: bool = False,
    overrides: Path | None = None,
) -> str:
    """Render the script.

    Args:
        cluster: The cluster.
        action: What the script does (`manage`).
        wanted: The items to remove.
        fence: An unpredictable word for the markers in the output.
        dry_run: Change nothing.
        overrides: The project's folder, which must have no template of an earlier version.

    Raises:
        ConfigError: A path contains a line break or a NUL.
        TemplateError: The project overrides a template of an earlier version.
    """
    refuse_former(overrides)
    values: dict[str, Value] = {
        "action": action,
        "wanted": tuple(f"{item.kind} {item.name}" for item in wanted),
        "listing": dry_run,
        "schedulers": cluster.schedulers,
        "image_cache_owners": cluster.image_cache_owners,
        "cache_limit": 0,
        "image_size": 0,
        "fence": fence,
    }
    folders = {"root": cluster.root, "cache": cluster.images_folder}
    return Script(
        title=_TITLES[action],
        values=values,
        functions=(paths_function("set_paths", {name: shell.path(path) for name, path in folders.items()}),),
        before_setup=("variables.sh",),
        setup=Setup(lines=cluster.setup),
        files=FILES["cached"],
    ).text()


def _about(text: str) -> dict[str, str]:
    try:
        values = read_json(text) if text else {}
        return {name: value for name, value in values.items() if isinstance(value, str)}
    except (ValueError, AttributeError):
        return {}


def _digest(text: str) -> str:
    return text if _SHA256.fullmatch(text) else ""
