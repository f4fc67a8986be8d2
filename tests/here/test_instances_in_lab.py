"""Instances of a real Apptainer: started, listed, used and stopped, and only those that were started from here."""

import json
from collections.abc import Iterator

import pytest

from tests.here.conftest import Here
from tests.lab.observing import eventually

ODD = 'it\'s "$HOME" \n ✓ '
START = ("instance", "start", "../small.sif", "-e", f"ODD={ODD}")
SERVICE = ("--", "sleep", "1000")


@pytest.fixture(autouse=True)
def no_instance(here: Here) -> Iterator[None]:
    yield
    here("instance", "stop", "--all")


def names(here: Here) -> dict[str, bool]:
    return {one["name"]: one["running"] for one in json.loads(here.said("instance", "list", "--json"))}


def test_an_instance_is_started_listed_used_and_stopped(here: Here) -> None:
    assert here.said(*START, "service", *SERVICE) == b"service\n"
    assert names(here) == {"service": True}
    assert b"service" in here.said("instance", "list")
    # The start script got the variable, and so does what runs in the instance later, with its words whole.
    assert eventually((here.project / "odd-of-instance").exists)
    assert eventually(lambda: (here.project / "odd-of-instance").read_text() == ODD)
    line = 'printf "%s|" "$FROM_IMAGE" "$ODD" "$MORE" "$1"; pwd'
    said = here.said("run", "instance://service", "-e", "MORE=\x81", "--", "sh", "-c", line, "sh", b"caf\xe9")
    assert said == f"active|{ODD}|\x81|".encode() + b"caf\xe9|" + f"{here.home}/project\n".encode()
    assert here.said("shell", "instance://service", stdin=b'echo "$FROM_IMAGE"\n') == b"active\n"
    assert here("run", "instance://service", "--", "sh", "-c", "exit 4").returncode == 4
    assert here("instance", "stop", "service").returncode == 0
    assert names(here) == {}
    assert b"service" not in here.shell("apptainer instance list").stdout


def test_a_second_instance_of_a_name_is_refused_and_an_ended_one_makes_room(here: Here) -> None:
    here.said(*START, "twice", *SERVICE)
    refused = here(*START, "twice", *SERVICE)
    assert refused.returncode == 78
    assert b"is already running" in refused.stderr
    assert here.shell("apptainer instance stop twice").returncode == 0
    assert names(here) == {"twice": False}
    assert b"has ended" in here("run", "instance://twice", "--", "true").stderr
    here.said(*START, "twice", *SERVICE)
    assert names(here) == {"twice": True}


def test_an_instance_of_somebody_else_is_left_alone(here: Here) -> None:
    assert here.shell(f"apptainer instance start {here.home}/small.sif theirs sleep 1000").returncode == 0
    try:
        here.said(*START, "ours", *SERVICE)
        assert names(here) == {"ours": True}
        assert here("instance", "stop", "theirs").returncode == 78
        here.said("instance", "stop", "--all")
        assert b"theirs" in here.shell("apptainer instance list").stdout
    finally:
        here.shell("apptainer instance stop theirs")


def test_an_instance_of_a_job_has_its_name_binds_and_variables(here: Here) -> None:
    started = here("instance", "start", "report", "-e", "ODD=plain", *SERVICE)
    assert started.returncode == 0, started.stderr.decode()
    assert b"the job's command is not run" in started.stderr
    assert here.said("run", "instance://report", "--", "sh", "-c", "cat /data/input; echo $ODD") == b"bound\nplain\n"


def test_values_that_apptainer_would_lose_are_refused(here: Here) -> None:
    refused = here("instance", "start", "report", *SERVICE)
    assert refused.returncode == 2
    assert b"ODD is " in refused.stderr
    assert names(here) == {}


def test_an_instance_that_cannot_start_leaves_nothing(here: Here) -> None:
    (here.project / "broken.sif").write_bytes(b"no image")
    refused = here("instance", "start", "broken.sif")
    assert refused.returncode == 78
    assert b"did not start" in refused.stderr
    assert names(here) == {}
