"""Find the probable cause of a failed build in the last lines of its output, and give advice."""

import re
from collections.abc import Sequence

from hpcdeploy.frozen import frozen

SHOWN = 15
"""Maximum number of output lines in the message about a failed build."""

_NOISE = re.compile(r"^(INFO|DEBUG|VERBOSE):|^\s*$|^\+ |^Cleaning up|^error: the build failed|^[A-Z_]+=")

NO_PROGRAM_BEGINS = "no program starts in this image: its environment script exits before, with code 0; %test did not run"
"""Error of a build if the image's environment script ends the shell before the shell starts the program."""


@frozen
class Cause:
    """A cause of failed builds.

    Attributes:
        name: The cause, as the end of the sentence "Probable cause: ...".
        pattern: Matches an output line of a build that failed for this cause.
        advice: The advice to the user.
        source: The program or issue from which the pattern was taken.
    """

    name: str
    pattern: re.Pattern[str]
    advice: str
    source: str


def _cause(name: str, pattern: str, advice: str, source: str) -> Cause:
    return Cause(name=name, pattern=re.compile(pattern, re.IGNORECASE), advice=advice, source=source)


CAUSES = (
    _cause(
        "the image's environment script runs 'exit 0' or replaces the shell (exec) before the program starts",
        r"no program starts in this image",
        "look for exit, return and exec in %environment, in activation scripts of packages, and in the base image's "
        "/.singularity.d/env/*.sh; jobs would succeed without running",
        "Apptainer 1.4.5: /.singularity.d/actions/exec and test run the environment scripts before the program",
    ),
    _cause(
        "the image's own test failed; the image was removed",
        r"failed to execute %test script",
        "fix the error above, or the image's 'test' lines in the settings",
        "Apptainer 1.4.5, recorded",
    ),
    _cause(
        "the base image is for another processor than the building machine",
        r"image targets '[a-z0-9]+', cannot run on '[a-z0-9]+'",
        "use a base image for this machine, or build on a machine with the image's processor (docs/aarch64.md)",
        "Apptainer 1.4.5, recorded (getExecError in internal/pkg/runtime/engine/apptainer/process_linux.go)",
    ),
    _cause(
        "a base image has no bash, or no shell at all",
        r"/bin/bash: (not found|no such file)|stat /bin/sh: no such file",
        "set 'base' or 'final-base' to a base image with bash and coreutils, such as ubuntu:24.04 or "
        "debian:bookworm-slim; images named alpine, busybox or distroless lack them",
        "Apptainer 1.4.5, recorded",
    ),
    # This cause is before that of a full disk, because Apptainer up to 1.3.3 reports "No space left on device" if there are
    # no user namespaces.
    _cause(
        "this machine does not allow builds by users other than root",
        r"no user namespaces? available|failed to create (user|container|mount) (namespace|process)"
        r"|user namespaces? disabled|new[ug]idmap( was not found|' execution failed|: write to)"
        r"|waiting event for user namespace mappings"
        r"|requires? unprivileged user namespaces",
        "ask the site to enable user namespaces and to add a range for you in /etc/subuid and /etc/subgid. Or build "
        "elsewhere (--on CLUSTER, or your own machine) and push the image",
        "Apptainer 1.4.5, recorded; apptainer/apptainer#601, #2455, #3725",
    ),
    _cause(
        "the host's fakeroot does not fit the base image's C library",
        # Atomic groups prevent backtracking, which could take very long for a long line.
        r"\A(?>.*?fake(?:d|root)(?:(?!fake(?:d|root))\S)*+(?<=:) )(?>.*?GLIBC_(?:(?!GLIBC_)\S)++ not found)"
        r"|error while starting the .faked. daemon|libs/faked: not found",
        "use a base image whose glibc is as new as the host's, ask the site for a range in /etc/subuid (then no fakeroot "
        "command is needed), or build elsewhere",
        "apptainer/apptainer#783, #2103, #2291",
    ),
    _cause(
        "the lock file does not fit the manifest",
        r"lock.?file (is )?not up.to.date",
        "run 'pixi lock' in the workspace, commit pixi.lock, and build again",
        "the lab's stand-in for pixi, in pixi's words, recorded",
    ),
    _cause(
        "the environment requires system properties (__cuda, __glibc) that the build does not declare",
        r"virtual package '?__\w+|does not match any of the available virtual packages",
        'set the image\'s CUDA version (pixi = { cuda = "12.9" }), or choose a base image with a newer glibc',
        "the lab's stand-in for pixi, in pixi's words, recorded; prefix-dev/pixi#2072",
    ),
    _cause(
        "the disk for temporary files is full, or is in memory",
        r"no space left on device|disk quota exceeded",
        "set APPTAINER_TMPDIR (here, or by a line in the cluster's setup) to a folder on a disk with room for several times "
        "the image's size",
        "Apptainer 1.4.5, recorded; apptainer/apptainer#1380",
    ),
    _cause(
        "the base image's registry denied access, or has no such image",
        r"MANIFEST_UNKNOWN|NAME_UNKNOWN|UNAUTHORIZED|DENIED: |TOOMANYREQUESTS|requested access to the resource is denied",
        "check the base image's name and tag; if it is private, log in first with 'apptainer registry login'",
        "Apptainer 1.4.5, recorded; the error codes of the OCI distribution specification",
    ),
    _cause(
        "the build cannot reach a host that it needs",
        r"no such host|connection refused|i/o timeout|network is unreachable|temporary failure in name resolution"
        r"|TLS handshake timeout|could not resolve host|error sending request|connection reset by peer",
        "check the address, set https_proxy if the site requires a proxy, or build on a login node with internet access",
        "Apptainer 1.4.5, recorded",
    ),
)
"""The known causes, in the order in which they are checked: messages of one tool come before messages of many tools."""


def last_lines(lines: Sequence[str], count: int = SHOWN) -> tuple[str, ...]:
    """Return the last `count` lines without progress messages and traces of commands (`_NOISE`).

    If no other lines remain, the last `count` of all lines are returned.
    """
    telling = [line for line in lines if not _NOISE.search(line)]
    return tuple((telling or list(lines))[-count:])


def probable_cause(lines: Sequence[str]) -> Cause | None:
    """Return the cause that the last lines indicate; None if no known cause matches.

    Progress messages and traces of commands (`_NOISE`) are ignored. Of the other lines, the last 4 are searched first, and
    then the last 40, because an earlier message often did not stop the build. Each search uses the order of `CAUSES`.
    """
    telling = [line for line in lines if not _NOISE.search(line)]
    for part in (telling[-4:], telling[-40:]):
        for cause in CAUSES:
            if any(cause.pattern.search(line) for line in part):
                return cause
    return None


def explain(lines: Sequence[str]) -> str:
    """Return the text for the user about a failed build: the last lines of its output, the probable cause, and advice.

    If no known cause matches, the text has only the last lines.
    """
    shown = "\n".join(f"  {line}" for line in last_lines(lines))
    cause = probable_cause(lines)
    return shown + (f"\nProbable cause: {cause.name}.\nWhat to do: {cause.advice}." if cause else "")
