"""Why a job waits, is held or ended, in words: HTCondor's hold codes, each with what it means and what one can do."""

import errno
import os

from hpcdeploy.run import State, TaskStatus
from hpcdeploy.scheduler.htcondor.queue import NEVER, WAITS
from hpcdeploy.whole_number import whole_number

_RELEASE = "then 'condor_release'"
_FILES = "look at the paths it names"

_ELSEWHERE = "'condor_release' lets it try elsewhere"
_ROOM = f"see whether its folder is there and has room, {_RELEASE}"

# HoldReasonCode in the manual ("Job ClassAd Attributes") of HTCondor 23; of others, HTCondor's own words must do.
_HOLDS: dict[int, tuple[str, str]] = {
    1: ("somebody held it with condor_hold", "'condor_release' lets it go on"),
    3: ("its own policy held it (periodic_hold, on_exit_hold)", f"see what the policy is there for, {_RELEASE}"),
    4: ("its credentials are not valid", f"get new ones (condor_store_cred, the site's token program), {_RELEASE}"),
    5: ("its own policy came to no answer", "mend the expression (periodic_hold, periodic_remove), and submit it again"),
    6: ("the program could not be started on the worker", "see that it is in the image, and made for that machine"),
    7: ("its file for standard output cannot be opened", _ROOM),
    8: ("its file for standard input cannot be opened", _FILES),
    9: ("its stream for standard output cannot be opened", _ROOM),
    10: ("its stream for standard input cannot be opened", _FILES),
    11: ("the two ends of a file transfer misunderstood each other", _ELSEWHERE),
    12: ("its files could not be brought back", f"see that it makes every output that is named, {_RELEASE}"),
    13: ("its files could not be brought to the worker", f"see that every input is there and can be read, {_RELEASE}"),
    14: ("its working folder cannot be entered", _FILES),
    15: ("it was submitted to be held", "'condor_release' lets it begin"),
    16: ("its files are still brought to the submit node", "nothing need be done"),
    17: ("the submit node's shadow does not fit it", "ask the site"),
    18: ("the two ends of a file transfer misunderstood each other", _ELSEWHERE),
    19: ("the site's hook that prepares jobs refused it (on OSPool, often an image that was not to be had)", _ELSEWHERE),
    20: ("the moment at which it was to start has passed", "submit it again"),
    21: ("the worker's policy held it (WANT_HOLD)", "read the worker's words: it used more than it asked for, often"),
    22: ("its event log cannot be written", _ROOM),
    23: ("your account cannot be used on that machine", "ask the site"),
    24: ("the submit node has no shadow that fits it", "ask the site"),
    25: ("its schedule (cron_) cannot be read", "mend it, and submit it again"),
    26: ("the site's policy held it (SYSTEM_PERIODIC_HOLD)", "read the site's words: they say what is not allowed"),
    27: ("the site's policy came to no answer", "ask the site"),
    32: ("its input files are larger together than the site allows", "bring them another way: OSDF, a shared folder"),
    33: ("its output files are larger together than the site allows", "write less, or to another place"),
    34: ("it used more of something than it asked for", "ask for more, and submit it again"),
    35: ("its container image cannot be used", "see that the name is right and that workers may fetch it"),
    36: ("it failed when it was told to make its checkpoint", "look at its log"),
    43: ("its pre-script failed", "look at the script"),
    44: ("its post-script failed", "look at the script"),
    45: ("the worker's own test of Apptainer failed, which is not the job's fault", _ELSEWHERE),
    46: ("it was there longer than it asked for (allowed_job_duration)", "ask for more"),
    47: ("it ran longer than it asked for (time)", "ask for more, or let it go on from a checkpoint"),
    48: ("the hook that prepares jobs failed on the submit node", f"ask the site, {_RELEASE}"),
}

_OF_34 = {102: ("it used more memory than it asked for", "memory"), 104: ("it used more disk than it asked for", "disk")}
_TRANSFERS = frozenset({12, 13})
_TIMED_OUT = 62

# LastRejMatchReason: what the negotiator last said (matchmaker.cpp).
_IDLE = {
    "no match found": "no machine has now what it asks for: wait, or see why with 'condor_q -better-analyze'",
    "insufficient priority": "others have a better priority at present: nothing need be done",
    "submitter limit exceeded": "you use as much of the pool as is your share: nothing need be done",
    "concurrency limit reached": "a limit on jobs of its kind has been reached: nothing need be done",
    "PREEMPTION_REQUIREMENTS == False": "all that would do is taken by others: nothing need be done",
}

_ENDS = {
    State.CANCELLED: "it was removed, by you or by a policy (periodic_remove, the site's own)",
    State.TIMEOUT: "it used up the time that it asked for: ask for more (time), or let it go on from a checkpoint",
    State.SUSPENDED: "it was suspended, and goes on later: nothing need be done",
}


def explain(status: TaskStatus) -> str:
    """Say in words why a task waits, is held or ended badly, and what one can do; empty where there is nothing to say."""
    match status.state:
        case State.HELD:
            return _hold(status.code)
        case State.PENDING if status.word == "UNMATERIALIZED":
            return "HTCondor makes it when there is room under the throttle: nothing need be done"
        case State.PENDING if status.reason.startswith(WAITS):
            return "it starts when what it waits for has ended as it is to: nothing need be done"
        case State.CANCELLED if status.reason.startswith(NEVER):
            return "what it waited for did not end as it had to: submit that again, then this; or say afterany"
        case State.PENDING:
            return next((words for said, words in _IDLE.items() if said.lower() in status.reason.lower()), "")
        case state:
            return _ENDS.get(state, "")


def _hold(code: str) -> str:
    number, _, detail = code.partition(".")
    hold, sub = whole_number(number), whole_number(detail.removeprefix("-"))
    if hold not in _HOLDS or sub is None:
        return ""
    what, advice = _HOLDS[hold]
    sub = -sub if detail.startswith("-") else sub
    if hold == 34 and sub in _OF_34:
        what, resource = _OF_34[sub]
        return f"{what}: ask for more ({resource}), and submit it again"
    if hold in _TRANSFERS:
        if sub == _TIMED_OUT:
            return f"{what}, for want of an answer in time: 'condor_release' tries again"
        if sub > 255:
            return f"{what}: the plugin that fetches URLs ended with exit code {sub >> 8}; check the URL, {_RELEASE}"
    if sub in errno.errorcode:
        what += f" ({os.strerror(sub)})"
    return f"{what}: {advice}"
