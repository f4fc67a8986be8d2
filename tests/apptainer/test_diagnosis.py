"""Probable causes of failed builds, told from what Apptainer 1.4.5 and the lab's stand-in for pixi really wrote.

Each file in ``recordings`` is the output of a build in the lab that was made to fail: by a temporary folder of 1 MB, a port
and an address where nothing listens, a missing tag, a manifest newer than its lock file, a CUDA environment without a CUDA
version, a failing test, no user namespaces, base images without bash and without any shell, and one for arm64.
"""

from pathlib import Path

import pytest

from hpcdeploy.apptainer.diagnosis import CAUSES, explain, last_lines, probable_cause

RECORDINGS = Path(__file__).parent / "recordings"


def recorded(name: str) -> list[str]:
    return (RECORDINGS / f"{name}.log").read_text().splitlines()


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("disk", "the disk for temporary files is full"),
        ("userns", "this machine does not allow builds by users other than root"),
        ("network", "the build cannot reach a host"),
        ("dns", "the build cannot reach a host"),
        ("manifest", "the base image's registry denied"),
        ("stale", "the lock file does not fit the manifest"),
        ("nocuda", "the environment requires system"),
        ("test", "the image's own test failed"),
        ("nobash", "a base image has no bash"),
        ("noshell", "a base image has no bash"),
        ("processor", "the base image is for another processor"),
    ],
)
def test_a_recorded_failure_is_explained(name: str, cause: str) -> None:
    found = probable_cause(recorded(name))
    assert found is not None
    assert found.name.startswith(cause)
    assert f"Probable cause: {found.name}.\nWhat to do: {found.advice}." in explain(recorded(name))


def test_every_recording_is_used() -> None:
    assert {path.stem for path in RECORDINGS.iterdir()} == {
        *("disk", "userns", "network", "dns", "manifest", "stale", "nocuda", "test", "nobash", "noshell", "processor")
    }


# What other versions write, by the issues of apptainer/apptainer.
@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("ERROR  : Failed to create container process: No space left on device", "this machine does not"),  # 2455
        (
            "FATAL:   newuidmap was not found in PATH (/usr/bin), required with fakeroot",
            "this machine does not",
        ),  # 601
        ("newgidmap: write to gid_map failed: Operation not permitted", "this machine does not"),  # 3725
        ("/.singularity.d/libs/faked: /lib64/libc.so.6: version `GLIBC_2.33' not found", "the host's fakeroot"),  # 2291
        ("fakeroot: error while starting the `faked' daemon.", "the host's fakeroot"),  # 783
        ("FATAL:   GET https://ghcr.io/v2/: UNAUTHORIZED: authentication required", "the base image's registry denied"),
    ],
)
def test_the_words_of_other_versions_are_known(line: str, cause: str) -> None:
    found = probable_cause([line, "FATAL:   While performing build: while running engine: exit status 1"])
    assert found is not None
    assert found.name.startswith(cause)


def test_what_a_good_step_says_is_no_cause() -> None:
    lines = [line for line in recorded("nocuda") if "Virtual package '" not in line]
    assert any("System requirements: cuda" in line for line in lines)
    assert probable_cause(lines) is None
    assert "Probable cause" not in explain(lines)


def test_a_library_that_the_program_itself_misses_is_no_fakeroot() -> None:
    assert probable_cause(["tool: /lib/libc.so.6: version `GLIBC_2.38' not found (required by tool)"]) is None


def test_the_end_counts_more_than_what_was_said_on_the_way() -> None:
    lines = ["retrying after: connection reset by peer", *(f"line {number}" for number in range(10)), *recorded("disk")]
    found = probable_cause(lines)
    assert found is not None
    assert found.name.startswith("the disk")


def test_the_lines_shown_leave_out_progress_and_traces() -> None:
    shown = last_lines(recorded("test"))
    assert shown[-1] == "FATAL:   While performing build: failed to execute %test script: exit status 1"
    assert "ModuleNotFoundError: No module named 'torch'" in shown
    assert not [line for line in shown if line.startswith(("INFO:", "+ "))]


def test_each_cause_says_what_to_do_and_where_it_was_seen() -> None:
    assert all(cause.advice and cause.source for cause in CAUSES)
    assert len({cause.name for cause in CAUSES}) == len(CAUSES)
