"""List and remove folders of finished runs, and staged files, on a cluster (``login/clean.sh``)."""

import re
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

from hpcdeploy import limits
from hpcdeploy.checked_values import LARGEST, whole_number
from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import SchedulerError
from hpcdeploy.frozen import frozen
from hpcdeploy.remote.script_parts import query_script
from hpcdeploy.remote.session import Session
from hpcdeploy.run import Run
from hpcdeploy.scheduler.contract import read_sections
from hpcdeploy.shell_script import Value
from hpcdeploy.templates import refuse_former

BUSY = "busy"
"""Verdict of the only row in the section of staged files if a run may be in submission. Then no staged file was examined."""

_VERDICTS = frozenset({"free", "removed", "gone", "queued", "foreign", "named", "failed", BUSY})
_STAGED = re.compile(r"(?:code|inputs)/(?:[0-9a-f]{64}(?:\.tar|\.archive)?|\.[0-9a-f]{64}(?:\.[0-9]{1,20})?\.parcel)|-")
_KIB = 1024


@frozen
class Item:
    """A run's folder or a staged file.

    Attributes:
        name: The run's id, or the path of the file relative to the cluster's root.
        verdict: ``free`` (can be removed), ``removed``, ``failed`` (removed in part), or the reason why nothing is removed:
            ``gone`` (the folder or file does not exist), ``queued`` (a job of the run is in the queue), ``named`` (another
            run uses the file), ``foreign`` (the folder is not a run's folder of this user).
        size: The size in bytes; 0 if nothing is removed.
    """

    name: str
    verdict: str
    size: int


@frozen
class Cleaned:
    """The runs and files that can be removed from a cluster, or were removed.

    Attributes:
        runs: The examined folders of runs.
        staged: The examined staged files.
        busy: No staged file was examined, because a run may be in submission.
        errors: The script's standard error.
    """

    runs: Sequence[Item]
    staged: Sequence[Item]
    busy: bool = False
    errors: str = ""


def clean(session: Session, runs: Sequence[Run], staged: Sequence[str] | None, *, older_than: int) -> Cleaned:
    """Remove the folders of the finished `runs` and the `staged` files. If `staged` is None, only list what can be removed.

    Raises:
        SchedulerError: Nothing was removed, because a scheduler did not answer or the root is not private. Or the script's
            output cannot be parsed; then something may have been removed.
        TransportError: The connection failed.
    """
    fence = secrets.token_hex(8)
    script = cleaning(session.cluster, runs, staged, fence, older_than=older_than, overrides=session.overrides)
    result = session.run(script, limit=limits.CLEANING)
    if result.exit_code:
        raise SchedulerError(f"{result.where}: {result.message}")
    sections = read_sections(result.stdout, fence, "runs", "staged")
    known = {run.id for run in runs}
    found = [one for one in read_items(sections["runs"].content) if one.name in known]
    others = [one for one in read_items(sections["staged"].content) if _STAGED.fullmatch(one.name)]
    return Cleaned(
        runs=tuple(found),
        staged=tuple(one for one in others if one.verdict != BUSY),
        busy=any(one.verdict == BUSY for one in others),
        errors=result.errors,
    )


def read_items(content: bytes) -> Iterator[Item]:
    """Yield the items in a section of the script's output; malformed lines are left out.

    Raises:
        SchedulerError: The section has more than `hpcdeploy.limits.MOST_CLEANED` lines.
    """
    for number, line in enumerate(limits.text_lines(content.decode("utf-8", "replace"))):
        if number >= limits.MOST_CLEANED:
            raise SchedulerError(f"there are more than {limits.MOST_CLEANED} runs or staged files; clean with a greater age")
        verdict, _, rest = line.partition(" ")
        size, _, name = rest.partition(" ")
        kib = whole_number(size, LARGEST // _KIB)
        if verdict in _VERDICTS and kib is not None and name:
            yield Item(name=name, verdict=verdict, size=kib * _KIB)


def cleaning(
    cluster: Cluster,
    runs: Sequence[Run],
    staged: Sequence[str] | None,
    fence: str,
    *,
    older_than: int,
    overrides: Path | None = None,
) -> str:
    """Render the script that removes the folders of `runs` and the staged files `staged`, or lists what it would remove.

    Args:
        cluster: The cluster.
        runs: The runs, all of which have finished.
        staged: Paths of staged files relative to the root, as the script listed them; None to list only.
        fence: An unpredictable word for the markers in the output.
        older_than: Minimum age of a staged file in seconds. A file that was changed more recently is not removed.
        overrides: The project's folder, whose own templates replace the built-in ones.

    Raises:
        ConfigError: A path contains a line break or a NUL.
        TemplateError: A template is broken.
    """
    refuse_former(overrides)
    values: dict[str, Value] = {
        "run_ids": tuple(run.id for run in runs),
        "staged": tuple(staged or ()),
        "listing": staged is None,
        "older_than": older_than,
        "schedulers": tuple(dict.fromkeys((*cluster.schedulers, *(run.scheduler for run in runs)))),
        "fence": fence,
    }
    title = (
        "List what can be removed: folders of finished runs, and staged files."
        if staged is None
        else ("Remove folders of finished runs, and staged files that no run needs.")
    )
    return query_script(title, values, cluster, "clean", with_variables=True)
