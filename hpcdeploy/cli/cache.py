"""Implement ``cache``: list, prune and verify what hpcdeploy keeps to build faster."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from hpcdeploy.cli import completion, show
from hpcdeploy.cli.options import AsJson, Yes
from hpcdeploy.plain_text import written

if TYPE_CHECKING:
    from hpcdeploy.cache_items import CacheItem
    from hpcdeploy.flows.cache import Where

app = typer.Typer(help="List, prune or verify kept images and downloads.", no_args_is_help=True, add_completion=False)

OnCluster = Annotated[
    str | None,
    typer.Option(
        "-c",
        "--cluster",
        "--on",
        metavar="CLUSTER",
        help="Cluster with the cache; default: this machine.",
        show_default=False,
        autocompletion=completion.clusters,
    ),
]
Keep = Annotated[
    str, typer.Option("--keep", metavar="SIZE", help='Maximum size of what is kept, such as "20 GB"; 0: remove all.')
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="List what would be done; change nothing.")]


@app.command("list")
def list_cache(cluster: OnCluster = None, json: AsJson = False) -> None:
    """List kept images and downloads, the least recently used first."""
    from hpcdeploy.flows import cache as flow

    with _cache(cluster) as where:
        found = sorted(flow.items(where), key=lambda item: (item.used, item.name))
    if json:
        show.as_json([asdict(item) for item in found])
        return
    _table(found, "SIZE")
    if found:
        show.say(f"{len(found)} items, {written(sum(item.size for item in found))}")
    _explain(found)


@app.command("prune")
def prune(keep: Keep, cluster: OnCluster = None, dry_run: DryRun = False, yes: Yes = False, json: AsJson = False) -> None:
    """Remove the least recently used items, until the rest fits into a size.

    Damaged and unfinished files are removed first. What a build, or a queued or running job uses is kept.
    """
    from hpcdeploy.cache_items import to_remove
    from hpcdeploy.config.units import parse_size
    from hpcdeploy.errors import SchedulerError
    from hpcdeploy.flows import cache as flow

    size = parse_size(keep)
    with show.terminal_as_it_was(), _cache(cluster) as where:
        found = flow.items(where)
        chosen = to_remove(found, size)
        if not dry_run and chosen:
            if not yes:
                if not json:
                    _table(chosen, "REMOVABLE")
                total = written(sum(item.size for item in chosen))
                show.confirm(f"Remove {len(chosen)} items ({total})?", abort=True)
            chosen = flow.prune(where, found, size)
    if json:
        show.as_json({"dry_run": dry_run, "items": [asdict(item) for item in chosen]})
    else:
        _table([item for item in chosen if item.verdict in ("free", "removed")], "REMOVABLE" if dry_run else "REMOVED")
        _explain([*chosen, *(item for item in found if item.verdict != "free")])
    failed = [item.name for item in chosen if item.verdict == "failed"]
    if failed:
        raise SchedulerError(f"could not remove all of {', '.join(failed)}; remove the rest by hand")


@app.command("verify")
def verify(cluster: OnCluster = None, dry_run: DryRun = False, json: AsJson = False) -> None:
    """Read all kept images, and move damaged ones aside.

    The next build of a damaged image builds it again. The exit code is 1 if an image is damaged.
    """
    from hpcdeploy.flows import cache as flow

    with _cache(cluster) as where:
        found = flow.verify(where, dry_run=dry_run)
    if json:
        show.as_json([asdict(item) for item in found])
    else:
        _table(found, "SIZE")
    damaged = [item for item in found if item.verdict in ("damaged", "moved", "failed")]
    if damaged:
        show.say(f"{len(damaged)} of {len(found)} images are damaged")
        raise typer.Exit(1)


@contextmanager
def _cache(cluster: str | None) -> "Iterator[Where]":
    """Yield the cache of this machine, or a session with the cluster of that name."""
    from hpcdeploy.apptainer.local_cache import LocalCache
    from hpcdeploy.cli.place import here
    from hpcdeploy.folders import cache_folder

    if cluster is None:
        yield LocalCache(root=cache_folder(os.environ))
        return
    place = here()
    chosen = place.cluster(cluster)
    with place.connections() as open_connections:
        yield open_connections.to(chosen)


def _table(items: "Sequence[CacheItem]", size: str) -> None:
    if not items:
        show.say("nothing to remove" if size != "SIZE" else "the cache is empty")
        return
    rows = [
        (
            item.kind,
            item.name[:24],
            " ".join(filter(None, (item.image, item.project))),
            show.age(item.used) if item.used else "",
            written(item.size),
            item.verdict,
        )
        for item in items
    ]
    show.table(("KIND", "NAME", "IMAGE", "USED", size, "STATE"), rows)


def _explain(items: "Sequence[CacheItem]") -> None:
    from hpcdeploy.cache_items import KEPT

    show.notes(f"{item.kind} {item.name[:24]} was kept: {KEPT[item.verdict]}" for item in items if item.verdict in KEPT)
