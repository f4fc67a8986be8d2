"""Login nodes that answer nonsense: one error each, and what is well goes on."""

import base64
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from hpcdeploy.apptainer.build_record import read_image
from hpcdeploy.apptainer.client import parse_version
from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import (
    BuildError,
    ConfigError,
    SchedulerError,
    UncertainSubmissionError,
)
from hpcdeploy.flows import follow, logs
from hpcdeploy.flows.build import build_on
from hpcdeploy.flows.cancel import cancel
from hpcdeploy.flows.submit import submit
from hpcdeploy.image import Definition
from hpcdeploy.job import Array, Job
from hpcdeploy.limits import OutputLimit
from hpcdeploy.progress import ignore_output, ignore_progress
from hpcdeploy.remote.answers import ranges_of, read_submission
from hpcdeploy.remote.connections import Connections
from hpcdeploy.remote.listing import read_listing, read_state
from hpcdeploy.remote.upload_stream import UploadStream
from hpcdeploy.run import Run, RunStatus, State
from hpcdeploy.secret import SecretValue
from hpcdeploy.staged_files import StagedFile
from hpcdeploy.store import Store
from hpcdeploy.transport.contract import Completed, Input, Output, Transport
from hpcdeploy.transport.local import LocalTransport
from tests.scheduler.samples import PLAIN, run_of
from tests.sessions import session

MANY = Job(name="many", image="train", array=Array(size=4))
RUN = run_of(MANY, run_id="many-0123456789")
ANSWER: dict[str, Any] = {"run": RUN.id, "job_id": "40,41", "already": False, "part": 2, "folder": "/home/me/it's here"}
NEEDS: dict[str, Any] = {"run": RUN.id, "needs": [{"sha256": "ab" * 32, "path": "/root/x", "have": 0}]}


class Node(LocalTransport):
    """A login node that answers each script as it is told."""

    def __init__(self, answer: Callable[[bytes], Completed]) -> None:
        super().__init__()
        self._answer = answer

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: Input = b"",
        on_stdout: Output = ignore_output,
        on_stderr: Output = ignore_output,
        timeout: float | None = None,
        limit: OutputLimit | None = None,
    ) -> Completed:
        assert isinstance(stdin, bytes)
        return self._answer(stdin)


def saying(text: str, exit_code: int = 0) -> Callable[[bytes], Completed]:
    """Answer with `text`, in which FENCE is the script's own."""

    def answer(script: bytes) -> Completed:
        fence = re.search(rb"^fence='?([0-9a-f]{16})", script, re.MULTILINE)
        said = text.replace("FENCE", fence[1].decode() if fence else "")
        return Completed(exit_code=exit_code, stdout=f"HPCDEPLOY begins\n{said}".encode(), stderr=b"")

    return answer


def sections(**texts: str) -> str:
    return "".join(f"HPCDEPLOY FENCE begin {name}\n{text}\nHPCDEPLOY FENCE end {name} 0\n" for name, text in texts.items())


def known(run: Run) -> RunStatus:
    return RunStatus(run=run, tasks=(), asked=0)


def reached(nodes: dict[str, Callable[[bytes], Completed]]) -> Connections:
    def connect(cluster: Cluster) -> Transport:
        if cluster.name == "unset":
            raise ConfigError("its SSH configuration is not there")
        return Node(nodes[cluster.name])

    return Connections(connect)


def cluster_of(name: str) -> Cluster:
    return Cluster(name=name, schedulers=("slurm", "htcondor"))


GOOD = run_of(PLAIN, job_id="12", run_id="good-0123456789")
FINE = sections(squeue="12|N/A|RUNNING|n|1790000000|0|None|", records="")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (sections(condor_q="[[[", events=""), "condor_q printed"),
        (sections(condor_q="[null]", events=""), "rows that cannot be parsed"),
        (
            sections(condor_q='[{"ClusterId": 9, "ProcId": 1e999, "HpcdeployRun": "bad-0123456789"}]', events=""),
            "rows that cannot be parsed",
        ),
        ("nothing", "no complete section"),
    ],
)
def test_status_of_many_clusters_tells_of_the_bad_one_and_asks_the_others(said: str, words: str, store: Store) -> None:
    bad = replace(run_of(PLAIN, "htcondor", job_id="9", run_id="bad-0123456789"), cluster="odd")
    gone = replace(GOOD, id="gone-0123456789", cluster="unset")
    with reached({"odd": saying(said), "hpc": saying(FINE)}) as connections:
        asked = follow.status([known(bad), known(gone), known(GOOD)], lambda name: connections.to(cluster_of(name)), store)
    assert [one.state for one in asked.statuses] == [State.UNKNOWN, State.UNKNOWN, State.RUNNING]
    assert sorted(failure.partition(":")[0] for failure in asked.failures) == ["odd", "unset"]
    assert words in next(failure for failure in asked.failures if failure.startswith("odd"))


def test_one_scheduler_of_a_cluster_does_not_stop_the_other(store: Store) -> None:
    condor = run_of(PLAIN, "htcondor", job_id="9", run_id="bad-0123456789")

    def answer(script: bytes) -> Completed:
        return saying("nothing" if b"condor_q" in script else FINE)(script)

    with reached({"hpc": answer}) as connections:
        asked = follow.status([known(condor), known(GOOD)], lambda name: connections.to(cluster_of(name)), store)
    assert [one.state for one in asked.statuses] == [State.UNKNOWN, State.RUNNING]
    assert len(asked.failures) == 1


def test_one_bad_row_is_one_error_and_its_runs_neighbour_is_told(store: Store) -> None:
    other = replace(GOOD, id="other-0123456789", job_id="13")
    text = sections(squeue="12|N/A|RUNNING|n|1790000000|0|None|\n13|N/A|RUNNING", records="")
    with reached({"hpc": saying(text)}) as connections:
        asked = follow.status([known(GOOD), known(other)], lambda name: connections.to(cluster_of(name)), store)
    assert [one.state for one in asked.statuses] == [State.RUNNING, State.UNKNOWN]
    assert "'13|N/A|RUNNING'" in asked.failures[0]
    assert store.latest() == []


def test_settings_that_reach_no_cluster_at_all_are_the_error(store: Store) -> None:
    with reached({}) as connections, pytest.raises(ConfigError, match="SSH configuration"):
        follow.status([known(replace(GOOD, cluster="unset"))], lambda name: connections.to(cluster_of(name)), store)


def test_cancel_goes_on_with_the_other_clusters_and_says_what_failed(store: Store) -> None:
    bad = replace(GOOD, id="bad-0123456789", cluster="odd")
    silent = replace(GOOD, id="silent-0123456789", cluster="silent")
    nodes = {
        "odd": saying("", 12),
        "silent": lambda _script: Completed(exit_code=0, stdout=b"", stderr=b""),
        "hpc": saying(""),
    }
    told: list[Run] = []
    with reached(nodes) as connections, pytest.raises(SchedulerError, match=r"on odd did not cancel bad-.*login shell"):
        cancel(
            [known(bad), known(silent), known(GOOD)],
            lambda name: connections.to(cluster_of(name)),
            store,
            report=told.append,
        )
    assert told == [GOOD]


@pytest.mark.parametrize(
    "damage",
    [
        *({"job_id": None}, {"job_id": 40}, {"job_id": ""}, {"job_id": "40; x"}, {"job_id": "40,"}, {"job_id": "9" * 99}),
        *(
            {"job_id": "1,2,3"},
            {"part": -1},
            {"part": "x"},
            {"part": 0},
            {"part": 10**30},
            {"part": [2]},
            {"part": float("nan")},
        ),
        *({"already": "no"}, {"already": None}, {"folder": None}, {"folder": ["/x"]}, {"folder": "/a\nb"}, {"folder": ""}),
        *({"run": "other-0123456789"}, {"run": None}),
    ],
)
def test_a_damaged_answer_of_submit_leaves_the_run_uncertain_and_on_record(damage: dict[str, Any], store: Store) -> None:
    said = f"HPCDEPLOY {json.dumps({**ANSWER, **damage})}\n"
    with reached({"hpc": saying(said)}) as connections, pytest.raises(UncertainSubmissionError, match="--resume"):
        submit(RUN, "script", connections.to(cluster_of("hpc")), store)
    assert store.find([RUN.id])[0].unsure
    with pytest.raises(ValueError, match="expected"):
        read_submission({**ANSWER, **damage}, RUN)


@pytest.mark.parametrize(
    "needs",
    [None, {}, "x", [1], [{}], [{"sha256": "ab", "path": "/x"}], [{**NEEDS["needs"][0], "have": "x"}], [{"sha256": ["a"]}]],
)
def test_a_damaged_list_of_needed_files_brings_nothing(needs: Any, store: Store) -> None:
    said = f"HPCDEPLOY {json.dumps({**NEEDS, 'needs': needs})}\n"
    with reached({"hpc": saying(said, 14)}) as connections, pytest.raises(UncertainSubmissionError, match="--resume"):
        submit(RUN, "script", connections.to(cluster_of("hpc")), store)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("done\n", "it printed no result; standard error ends: out of memory. Run"),
        ('HPCDEPLOY {"run"\n', "has a job: the login node answered 'HPCDEPLOY {\"run\"', which is not JSON. Run"),
    ],
    ids=["no answer", "no JSON"],
)
def test_a_missing_and_a_malformed_result_are_each_named(said: str, reason: str, store: Store) -> None:
    def answer(script: bytes) -> Completed:
        return replace(saying(said)(script), stderr=b"out of memory\n")

    with reached({"hpc": answer}) as connections, pytest.raises(UncertainSubmissionError, match=re.escape(reason)):
        submit(RUN, "script", connections.to(cluster_of("hpc")), store)


def test_an_honest_answer_is_taken(store: Store) -> None:
    with reached({"hpc": saying(f"HPCDEPLOY {json.dumps(ANSWER)}\n")}) as connections:
        done = submit(RUN, "script", connections.to(cluster_of("hpc")), store)
    assert [part.job_id for part in done.run.parts] == ["40", "41"]
    assert read_submission({**ANSWER, "job_id": "", "part": 0}, RUN, may_lack_job=True).run.job_id == ""
    with pytest.raises(ValueError, match="answered needs"):
        read_submission({"needs": []}, RUN, may_lack_job=True)


@pytest.mark.parametrize(
    "said", ['{"have": "x"}', '{"have": -1}', '{"have": null}', '{"have": 1e999}', '{"hav": 3}', '{"have"']
)
def test_a_damaged_answer_of_a_receiving_script_ends_the_try_with_an_error(said: str) -> None:
    staged = StagedFile(sha256="ab" * 32, size=9, path="x", what="the image", source="/nowhere")
    stream = UploadStream(b"script", staged, ignore_progress)
    stream.take(f"HPCDEPLOY {said}\n".encode())
    assert list(stream.pieces()) == [b"script"]
    assert isinstance(stream.error, SchedulerError)
    assert "the image was not uploaded" in str(stream.error)


@pytest.mark.parametrize("have", [None, 3, [3], [[3]], [[0, 1, 2]], [[0, -1]], [[5, 5]], [["x", 1]], [[0, 1], None], [{}]])
def test_ranges_that_are_none_of_the_file_are_refused(have: object) -> None:
    with pytest.raises(ValueError, match="expected ranges of the file"):
        ranges_of({"have": have}, 9)
    assert ranges_of({"have": [[0, 9], [9, 0], [2, 3]]}, 9) == [range(9), range(9, 9), range(2, 5)]


def test_tasks_that_are_none_of_the_run_have_not_ended() -> None:
    with reached(
        {"hpc": saying(sections(ended="0 x -1 9999 ² 99999999999999999999", **{"out.0": "hi", "err.0": ""}))}
    ) as to:
        piece = logs.read(known(replace(RUN, job_id="40,41", part=2)), 0, to.to(cluster_of("hpc")))
    assert piece.out == b"hi"


def test_an_entry_of_a_listing_that_cannot_be_read_is_left_out_and_told() -> None:
    good = "f 12 1795272256.5 644 ./a\0\0"
    for bad in (
        "x",
        "f x 1.0 644 ./b",
        "f 1 1.0 999 ./b",
        "f 1 1e9 644 ./b",
        f"f 1 1.0 644 ./{'b' * 300}",
        f"f {'9' * 5000} 1 6 b",
    ):
        files, unread = read_listing("output", f"{bad}\0\0{good}".encode())
        assert [file.name for file in files] == ["a"]
        assert len(unread) == 1
        assert len(unread[0]) <= 255
    assert read_state("5 -1.5") == (5, -500_000_000)
    assert read_state("") == (-1, -1)
    for text in ("5", "x 1", "-5 1.0", f"1 {'9' * 30}", "1 1.0 1"):
        with pytest.raises(ValueError, match=r"."):
            read_state(text)


@pytest.mark.parametrize(
    "damage",
    [{"sha256": "../../x"}, {"sha256": 5}, {"inputs": ""}, {"size": -1}, {"size": True}, {"size": 10**30}, {"name": None}],
)
def test_a_record_of_an_image_has_digests_and_a_size(damage: dict[str, Any]) -> None:
    image = {"name": "x", "sha256": "ab" * 32, "inputs": "cd" * 32, "apptainer": "1.4.5", "created": "c", "size": 5}
    assert read_image(image, "it").size == 5
    with pytest.raises(BuildError, match="is not the record of an image"):
        read_image({**image, **damage}, "it")


def test_a_version_of_absurd_numbers_is_none() -> None:
    with pytest.raises(BuildError, match="check that the program is Apptainer"):
        parse_version("apptainer version " + "9" * 5000)


@pytest.mark.parametrize("began", [False, True])
def test_a_login_node_that_repeats_what_it_was_sent_shows_no_secret_of_a_build(began: bool) -> None:
    definition = Definition(
        name="x", text="Bootstrap: docker\nFrom: debian\n", files=(), build_args=(), inputs="ab" * 32, secrets=("TOKEN",)
    )
    secret = SecretValue(b"a secret value\n")

    def repeat(script: bytes) -> Completed:
        lines = script[script.rindex(b"TOKEN") :]
        return Completed(exit_code=1, stdout=b'HPCDEPLOY {"' + lines if began else b"", stderr=lines)

    with pytest.raises(BuildError) as caught:
        build_on(definition, session(cluster_of("hpc"), Node(repeat)), secrets={"TOKEN": secret})
    assert "TOKEN ***" in str(caught.value)
    assert base64.b64encode(secret.reveal()).decode().rstrip("=") not in str(caught.value)
