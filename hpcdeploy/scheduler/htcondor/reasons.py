"""Explain why a job waits, is held or ended: the meaning of HTCondor's codes, and what the user can do."""

import errno
import os

from hpcdeploy.checked_values import whole_number
from hpcdeploy.run import State, TaskStatus
from hpcdeploy.scheduler.htcondor.queries import NEVER, WAITS

_RELEASE = "then 'condor_release'"
_FILES = "check the paths in the message"

_ELSEWHERE = "'condor_release' lets it try another worker"
_ROOM = f"check that its folder exists and has free space, {_RELEASE}"
_WAIT = "no action needed"

# Source: HoldReasonCode in the manual of HTCondor 23 ("Job ClassAd Attributes"). For a code that is not listed here, only
# HTCondor's own message is shown.
_HOLDS: dict[int, tuple[str, str]] = {
    1: ("a user held it with condor_hold", "'condor_release' lets it continue"),
    3: ("its own policy held it (periodic_hold, on_exit_hold)", f"check the reason for the policy, {_RELEASE}"),
    4: ("its credentials are not valid", f"get new ones (condor_store_cred, the site's token program), {_RELEASE}"),
    5: ("its own policy is undefined", "fix the expression (periodic_hold, periodic_remove), and submit it again"),
    6: ("the program could not be started on the worker", "check that it is in the image, and built for that machine"),
    7: ("its file for standard output cannot be opened", _ROOM),
    8: ("its file for standard input cannot be opened", _FILES),
    9: ("its stream for standard output cannot be opened", _ROOM),
    10: ("its stream for standard input cannot be opened", _FILES),
    11: ("a file transfer failed with a protocol error", _ELSEWHERE),
    12: ("its output files could not be transferred", f"check that it writes every output that is listed, {_RELEASE}"),
    13: ("its input files could not be transferred", f"check that every input exists and is readable, {_RELEASE}"),
    14: ("its working folder cannot be entered", _FILES),
    15: ("it was submitted on hold", "'condor_release' lets it start"),
    16: ("its input files are still in transfer to the submit node", _WAIT),
    17: ("the shadow of the submit node does not support it", "ask the site"),
    18: ("a file transfer failed with a protocol error", _ELSEWHERE),
    19: ("the site's hook that prepares jobs rejected it (on OSPool, often an image that could not be fetched)", _ELSEWHERE),
    20: ("its scheduled start time has passed", "submit it again"),
    21: ("the worker's policy held it (WANT_HOLD)", "read the worker's message: often it used more than it requested"),
    22: ("its event log cannot be written", _ROOM),
    23: ("your account cannot be used on that machine", "ask the site"),
    24: ("the submit node has no shadow that supports it", "ask the site"),
    25: ("its schedule (cron_) is invalid", "fix it, and submit it again"),
    26: ("the site's policy held it (SYSTEM_PERIODIC_HOLD)", "read the site's message for the reason"),
    27: ("the site's policy is undefined", "ask the site"),
    32: ("its input files exceed the site's limit in total", "transfer them another way: OSDF, a shared folder"),
    33: ("its output files exceed the site's limit in total", "write less, or to another path"),
    34: ("it used more of a resource than it requested", "request more, and submit it again"),
    35: ("its container image cannot be used", "check that the name is right and that workers may fetch it"),
    36: ("it failed to write its checkpoint on request", "see its log"),
    43: ("its pre-script failed", "check the script"),
    44: ("its post-script failed", "check the script"),
    45: ("the worker's own test of Apptainer failed, which is not the job's fault", _ELSEWHERE),
    46: ("it existed longer than it requested (allowed_job_duration)", "request more"),
    47: ("it ran longer than it requested (time)", "request more, or restart it from a checkpoint"),
    48: ("the hook that prepares jobs failed on the submit node", f"ask the site, {_RELEASE}"),
}

_OF_34 = {102: ("it used more memory than it requested", "memory"), 104: ("it used more disk than it requested", "disk")}
_TRANSFERS = frozenset({12, 13})
_TIMED_OUT = 62

_LINUX_ERRORS = {
    **{number: name for number, name in errno.errorcode.items() if number <= errno.ERANGE and name != "EDEADLK"},
    11: "EAGAIN", 35: "EDEADLK", 36: "ENAMETOOLONG", 37: "ENOLCK", 38: "ENOSYS", 39: "ENOTEMPTY", 40: "ELOOP",
    71: "EPROTO", 74: "EBADMSG", 75: "EOVERFLOW", 84: "EILSEQ", 88: "ENOTSOCK", 90: "EMSGSIZE", 95: "EOPNOTSUPP",
    98: "EADDRINUSE", 99: "EADDRNOTAVAIL", 100: "ENETDOWN", 101: "ENETUNREACH", 102: "ENETRESET", 103: "ECONNABORTED",
    104: "ECONNRESET", 105: "ENOBUFS", 106: "EISCONN", 107: "ENOTCONN", 108: "ESHUTDOWN", 110: "ETIMEDOUT",
    111: "ECONNREFUSED", 112: "EHOSTDOWN", 113: "EHOSTUNREACH", 116: "ESTALE", 122: "EDQUOT", 125: "ECANCELED",
}  # fmt: skip
"""The names of Linux's error numbers (errno(3)).

A subcode is a number of the pool's machines, which run Linux. This machine may number errors differently. On macOS, of the
numbers up to 34 (ERANGE) only 11 has another meaning, but of the higher numbers most do (intro(2) of macOS).
"""

# Fragments of LastRejMatchReason, the negotiator's last message about a pending job (matchmaker.cpp).
_IDLE = {
    "no match found": "no machine can start it now: wait, or find out why with 'condor_q -better-analyze'",
    "insufficient priority": f"other users have a better priority at present: {_WAIT}",
    "submitter limit exceeded": f"you use your full share of the pool: {_WAIT}",
    "concurrency limit reached": f"a limit on jobs of its kind has been reached: {_WAIT}",
    "PREEMPTION_REQUIREMENTS == False": f"all suitable machines are in use: {_WAIT}",
}

_ENDS = {
    State.CANCELLED: "it was removed by you, or by its own or the site's policy (periodic_remove, SYSTEM_PERIODIC_REMOVE)",
    State.TIMEOUT: "it reached its time limit: request more (time), or restart it from a checkpoint",
    State.SUSPENDED: f"it is suspended and will continue later: {_WAIT}",
}


def explain(status: TaskStatus) -> str:
    """Return why a task waits, is held or failed, and what the user can do; empty if there is nothing to explain."""
    match status.state:
        case State.HELD:
            return _hold(status.code)
        case State.PENDING if status.word == "UNMATERIALIZED":
            return f"HTCondor creates it when the throttle allows: {_WAIT}"
        case State.PENDING if status.reason.startswith(WAITS):
            return f"it starts when the runs that it waits for have ended as required: {_WAIT}"
        case State.CANCELLED if status.reason.startswith(NEVER):
            return "a run that it waited for did not end as required: submit that run again, then this one; or use afterany"
        case State.PENDING:
            return next((text for fragment, text in _IDLE.items() if fragment.lower() in status.reason.lower()), "")
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
        return f"{what}: request more ({resource}), and submit it again"
    if hold in _TRANSFERS:
        if sub == _TIMED_OUT:
            return f"{what} because of a timeout: 'condor_release' tries again"
        if sub > 255:
            return f"{what}: the plugin for this URL ended with exit code {sub >> 8}; check the URL, {_RELEASE}"
    if error := _LINUX_ERRORS.get(sub):
        what += f" ({os.strerror(getattr(errno, error))})"
    return f"{what}: {advice}"
