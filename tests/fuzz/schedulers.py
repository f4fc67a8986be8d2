"""What login nodes answer: schedulers, the tasks' own notes, and our scripts."""

import contextlib
import io
import json
import re
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from hpcdeploy.apptainer.build_progress import Show, ignore_event
from hpcdeploy.apptainer.build_record import read_image
from hpcdeploy.apptainer.client import parse_version
from hpcdeploy.architecture import ARM64
from hpcdeploy.cache_items import to_remove
from hpcdeploy.cli.status_text import as_values, print_statuses
from hpcdeploy.cli.watch import table_of
from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.errors import ConfigError, HpcdeployError
from hpcdeploy.flows import logs
from hpcdeploy.flows.cancel import cancel
from hpcdeploy.flows.fetch import fetch
from hpcdeploy.flows.processors import fitted
from hpcdeploy.flows.run_tasks import as_csv, results
from hpcdeploy.flows.submit import submit
from hpcdeploy.job import Array, Job
from hpcdeploy.limits import OutputLimit
from hpcdeploy.plain_text import PlainStream, json_text
from hpcdeploy.progress import ignore_output, ignore_progress
from hpcdeploy.remote import parallel_upload
from hpcdeploy.remote.answers import read_answer
from hpcdeploy.remote.cache import read_items as read_cached
from hpcdeploy.remote.cleaning import read_items
from hpcdeploy.remote.connections import Connections
from hpcdeploy.remote.nodes import read_nodes
from hpcdeploy.remote.query import query_scheduler
from hpcdeploy.remote.upload_stream import UploadStream
from hpcdeploy.run import Run, RunStatus, TaskStatus
from hpcdeploy.scheduler.contract import Answer, scheduler_of
from hpcdeploy.staged_files import StagedFile
from hpcdeploy.store import Store
from hpcdeploy.transport.contract import Completed, Input, Output
from hpcdeploy.transport.local import LocalTransport
from tests.fuzz.damage import as_json, contents, texts
from tests.fuzz.parser import Parser
from tests.scheduler.samples import run_of
from tests.sessions import session

CLUSTER = Cluster(name="hpc", schedulers=("slurm", "htcondor"))
MANY = Job(name="many", image="train", array=Array(size=20))
SLURM = run_of(MANY, job_id="40", run_id="many-0123456789")
CONDOR = replace(run_of(MANY, "htcondor", job_id="7", run_id="many-0123456789"))

SQUEUE = (
    "40|3|RUNNING|node1|1790000000|0|None|\n40|[4-9,12%10]|PENDING||N/A|0|JobArrayTaskLimit|\n40|0|FAILED|n|1|2|OutOfMemory|\n",
    "40|N/A|PENDING||1790000000|2|Resources|\n",
)
SACCT = """40_0|FAILED|7:0|node1|1790000000|1790000009|hpcdeploy:many-0123456789|x
40_[1-5%2]|CANCELLED by 1000|0:15|None assigned|Unknown|1790000009||many-0123456789
"""
SACCT_JSON = {
    "jobs": [
        {"job_id": 41, "array": {"job_id": 40, "task_id": 0}, "exit_code": {"return_code": 137}},
        {
            "job_id": {"set": True, "infinite": False, "number": 42},
            "array": {"job_id": {"number": 40, "set": True}, "task_id": {"set": True, "number": 1}},
            "exit_code": {"return_code": {"set": True, "infinite": False, "number": 9}},
        },
    ]
}
NOTES = """many-0123456789 0 start 1790000000 40 node1
many-0123456789 0 end 1790000060 143
many-0123456789 1 end 1790000060 125 never-began
many-0123456789 - cancelled 0
"""
AD = {
    "ClusterId": 7,
    "ProcId": 0,
    "JobStatus": 2,
    "HpcdeployRun": "many-0123456789",
    "RemoteHost": "slot1@node",
    "JobCurrentStartDate": 1790000000,
    "NumJobStarts": 2,
    "TransferringInput": True,
}
QUEUE = [
    AD,
    {**AD, "ProcId": 1, "JobStatus": 5, "HoldReason": "out of room", "HoldReasonCode": 34, "HoldReasonSubCode": 102},
    {**AD, "ProcId": 2, "JobStatus": 1, "LastRejMatchReason": "no match found", "DAGManJobId": 7, "JobUniverse": 7},
]
HISTORY = [
    {**AD, "JobStatus": 4, "ExitBySignal": False, "ExitCode": 3, "LastRemoteHost": "n", "EnteredCurrentStatus": 1790000000},
    {**AD, "ProcId": 1, "JobStatus": 4, "ExitBySignal": True, "ExitSignal": 9},
    {**AD, "ProcId": 2, "JobStatus": 3, "RemoveReason": "by condor_rm", "LastHoldReasonCode": 46},
]
EVENTS = """000 (007.000.000) 2026-11-20 22:36:00 Job submitted from host: <127.0.0.1:1>
...
001 (007.000.000) 2026-11-20 22:36:01 Job executing on host: <127.0.0.1:2?a=b>
	SlotName: slot1@n
005 (007.000.000) 2026-11-20 22:36:09 Job terminated.
	(1) Normal termination (return value 3)
012 (007.001.000) 2026-11-20 22:36:09 Job was held.
	reason
	Code 46 Subcode 0
005 (007.002.000) 2026-11-20T22:36:09Z Job terminated.
	(0) Abnormal termination (signal 9)
009 (007.003.000) 11/20 22:36:09 Job was aborted.
	by hand
035 (007.-01.000) 2026-11-20 22:36:09 Cluster submitted
"""
JOB_ANSWER = {"run": SLURM.id, "job_id": "40,41", "already": False, "part": 10, "folder": "/home/me/runs/many-0123456789"}
NEEDS_ANSWER = {"run": SLURM.id, "needs": [{"sha256": "ab" * 32, "path": "/root/inputs/x", "have": 0}]}
IMAGE = {
    "name": "x",
    "sha256": "ab" * 32,
    "inputs": "cd" * 32,
    "apptainer": "1.4.5",
    "created": "c",
    "size": 5,
    "environment": "ef" * 32,
    "builder": "apptainer",
    "tools": [["hpcdeploy", "1.0"]],
}


class Node(LocalTransport):
    """A login node that answers each script with what `answer` makes of it."""

    def __init__(self, answer: Callable[[bytes, Sequence[str]], Completed]) -> None:
        super().__init__()
        self._answer = answer

    def begin(self, argv: Sequence[str]) -> None:
        """Start no shell ahead, because `run` uses none."""

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
        script = stdin if isinstance(stdin, bytes) else next(iter(stdin))
        done = self._answer(script, argv)
        on_stdout(done.stdout)
        on_stderr(done.stderr)
        return done


def fenced(text: str, exit_code: int = 0) -> Callable[[bytes, Sequence[str]], Completed]:
    """Answer with `text`, in which FENCE stands for the script's own fence."""

    def answer(script: bytes, _argv: Sequence[str]) -> Completed:
        fence = re.search(rb"^fence='?([0-9a-f]{16})", script, re.MULTILINE)
        said = text.replace("FENCE", fence[1].decode() if fence else "")
        return Completed(exit_code=exit_code, stdout=said.encode("utf-8", "surrogatepass"), stderr=b"")

    return answer


class NoRecord(Store):
    """A record that keeps nothing: thousands of submissions need no disk."""

    def __init__(self) -> None:
        super().__init__(Path("/nowhere"))

    def add(self, run: Run, *_more: object) -> None:
        pass

    def submitted(self, run: Run) -> None:
        pass

    def resumed(self, run: Run) -> None:
        pass

    def forget(self, run: Run) -> None:
        pass

    def learned(self, *statuses: RunStatus) -> None:
        pass


def use(run: Run, tasks: Sequence[TaskStatus]) -> None:
    """Do with what was learned of a run what commands do, and check that no terminal is commanded."""
    status = RunStatus(run=run, tasks=tuple(tasks), asked=1_790_000_100)
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        print_statuses([status], json=False, tasks=True)
    values = json_text(as_values(status))
    said = shown.getvalue() + as_csv(results(status, None)).replace("\r\n", "\n") + values
    assert said.replace("\n", "").isprintable(), repr(said)
    json.loads(values)
    assert all(cell.isprintable() for row in table_of([status])[1] for cell in row)
    assert status.exit_code is None or 0 <= status.exit_code <= 255
    assert [task.task for task in status.tasks] == list(range(run.tasks))


def told(scheduler: SchedulerName, run: Run, section: str, others: Sequence[str]) -> Callable[[str], None]:
    """Return what reads one section of the follow script's answer, beside empty `others`."""

    def read(text: str) -> None:
        answers = {name: Answer(text="", exit_code=0) for name in others}
        answers[section] = Answer(text=text, exit_code=0)
        use(run, scheduler_of(scheduler).states(answers, [run])[run.id])

    return read


def read_exact(text: str) -> None:
    answers = {"squeue": Answer(text="", exit_code=0), "sacct": Answer(text=SACCT, exit_code=0)}
    answers["sacct_json"] = Answer(text=text, exit_code=0)
    use(SLURM, scheduler_of("slurm").states(answers, [SLURM])[SLURM.id])


def followed(run: Run) -> Callable[[str], None]:
    def read(text: str) -> None:
        known = RunStatus(run=run, tasks=(), asked=0)
        for one in query_scheduler(session(CLUSTER, Node(fenced(text))), run.scheduler, [known]):
            use(run, one.tasks)

    return read


def section(name: str, text: str) -> str:
    return f"HPCDEPLOY FENCE begin {name}\n{text}\nHPCDEPLOY FENCE end {name} 0\n"


def submitted(text: str) -> None:
    codes = iter((14, 0, 0, 0, 0))
    with Connections(lambda _: Node(answered(text, lambda: next(codes, 0)))) as connections:
        done = submit(run_of(MANY, run_id=SLURM.id), "script", connections.to(CLUSTER), NoRecord())
    assert re.fullmatch(r"[0-9]+(,[0-9]+)*", done.run.job_id)
    assert len(done.run.parts) <= done.run.tasks


def answered(text: str, code: Callable[[], int]) -> Callable[[bytes, Sequence[str]], Completed]:
    line = f"HPCDEPLOY begins\nHPCDEPLOY {text}\n".encode("utf-8", "surrogatepass")
    return lambda _script, _argv: Completed(exit_code=code(), stdout=line, stderr=b"")


def revoked(text: str) -> None:
    with Connections(lambda _: Node(answered(text, lambda: 0))) as connections:
        unsure = RunStatus(run=run_of(MANY, run_id=SLURM.id), tasks=(), asked=0)
        cancel([unsure], lambda _: connections.to(CLUSTER), NoRecord())


def received(text: str) -> None:
    staged = StagedFile(sha256="ab" * 32, size=9, path="x", what="x", source="/nowhere")
    stream = UploadStream(b"", staged, ignore_progress)
    stream.take(f"HPCDEPLOY {text}\n".encode("utf-8", "surrogatepass"))
    stream.end()
    for _ in stream.pieces():
        pass
    if stream.error:
        raise stream.error


class Distant(Node):
    """The same node, a long way off."""

    delay = 1.0


def received_in_parallel(text: str) -> None:
    size = parallel_upload.LARGE
    staged = StagedFile(sha256="ab" * 32, size=size, path="x", what="x", source="/nowhere")
    with Connections(lambda _: Distant(answered(text, lambda: 15))) as connections:
        result = parallel_upload.upload_in_parallel(staged, 0, connections.to(CLUSTER), ignore_progress)
    assert 0 <= result.present <= size


def logged(text: str) -> None:
    with Connections(lambda _: Node(fenced(text))) as connections:
        piece = logs.read(RunStatus(run=SLURM, tasks=(), asked=0), 0, connections.to(CLUSTER))
    stream = PlainStream()
    shown = stream.take(piece.out) + stream.take(piece.err, last=True)
    assert all(sign.isprintable() or sign in "\n\t" for sign in shown)


def fetched(listing: str, archive: bytes) -> None:
    def answer(script: bytes, argv: Sequence[str]) -> Completed:
        if argv[:2] == ["sh", "-c"]:
            return Completed(exit_code=0, stdout=b"\n" + argv[4].encode() + b"\n" + archive, stderr=b"")
        return fenced(listing)(script, argv)

    with tempfile.TemporaryDirectory() as folder, Connections(lambda _: Node(answer)) as connections:
        home = Path(folder) / "home"
        fetch(SLURM, home, connections.to(CLUSTER))
        outside = [path for path in Path(folder).iterdir() if path != home]
        assert not outside


def tar_of(**files: bytes) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return written.getvalue()


LISTING = (
    section("output", "f 2 1795272256.6456187920 644 ./a\0\0l 3 0.0000000000 777 ./l\0a\0f 3 1.0 644 ./d/b\0\0")
    + section("logs", "f 0 1.0 644 ./0.out\0\0")
    + '\nHPCDEPLOY {"output": "/w/output", "logs": "/w/logs"}\n'
)
ARCHIVE = tar_of(a=b"hi", **{"d/b": b"abc", "0.out": b""})
FOLLOWED = section("squeue", SQUEUE[0]) + section("records", NOTES) + section("sacct", SACCT)
CONDORED = section("condor_q", json.dumps(QUEUE)) + section("events", EVENTS) + section("records", "")
BUILT = {"state": "built", "reused": True, "path": "/cache/x.sif", "image": IMAGE}
BUILD_LOG = "INFO:    Starting build...\n+ echo \x1b[32mhi\x1b[0m\n10 %\r20 %\r\nFATAL:   no space left\n"
LOGS = section("out.0", "a\x1b[31mb") + section("err.0", "") + section("ended", "0 3")
BEGINS = "many-0123456789 0 never-began\n"


def cleaned(text: str) -> None:
    for item in read_items(text.encode("utf-8", "surrogatepass")):
        assert item.size >= 0


ABOUT = json.dumps({"name": "train", "inputs": "2" * 64, "environment": "3" * 64, "project": "/p"})
CACHED = f"image free 12 1700000000 {'1' * 64}.sif {ABOUT}\ndownloads used 4 5 {'4' * 32} {ABOUT}\nlayers gone 0 0 cache\n"


def cached(text: str) -> None:
    items = tuple(read_cached(text.encode("utf-8", "surrogatepass")))
    assert all(item.size >= 0 for item in items)
    to_remove(items, 1000)


NODES = "node gpu x86_64\nnode gpu aarch64\nnode - X86_64\npartition gpu\npartition later\ndefault gpu\n"


def processors(text: str) -> None:
    sections = ("login", "nodes", "defaults")
    found = read_nodes({name: Answer(text=text, exit_code=0) for name in sections})
    fitted(MANY, "arm64", replace(CLUSTER, platform=(("", (ARM64,)),)), "slurm", lambda _, __, again: found)
    with contextlib.suppress(ConfigError):
        fitted(MANY, "arm64", CLUSTER, "slurm", lambda _, __, again: found)


def built(text: str) -> None:
    try:
        answer = read_answer(f"HPCDEPLOY {text}\n".encode("utf-8", "surrogatepass"))
    except ValueError:
        return
    read_image((answer or {}).get("image"), "the answer")


def build_shown(text: str) -> None:
    show = Show(ignore_event)
    show.piece(text.encode("utf-8", "surrogatepass"))
    show.end()


SCHEDULERS = (
    Parser(name="cleaned", inputs=texts((f"removed 12 {SLURM.id}\nfree 3 code/{'1' * 64}.tar\nbusy 0 -\n",)), read=cleaned),
    Parser(name="cached", inputs=texts((CACHED,)), read=cached),
    Parser(name="nodes", inputs=texts((NODES,)), read=processors),
    Parser(name="squeue", inputs=texts(SQUEUE), read=told("slurm", SLURM, "squeue", ("records",))),
    Parser(name="sacct", inputs=texts((SACCT,)), read=told("slurm", SLURM, "sacct", ("squeue", "records"))),
    Parser(name="sacct-json", inputs=as_json([SACCT_JSON]), read=read_exact),
    Parser(name="task-notes", inputs=texts((NOTES,)), read=told("slurm", SLURM, "records", ("squeue",))),
    Parser(name="condor_q", inputs=as_json([QUEUE]), read=told("htcondor", CONDOR, "condor_q", ("events",))),
    Parser(name="condor_history", inputs=as_json([HISTORY]), read=told("htcondor", CONDOR, "condor_history", ("condor_q",))),
    Parser(name="event-log", inputs=texts((EVENTS,)), read=told("htcondor", CONDOR, "events", ("condor_q",))),
    Parser(name="begin-notes", inputs=texts((BEGINS,)), read=told("htcondor", CONDOR, "records", ())),
    Parser(name="follow-slurm", inputs=texts((FOLLOWED,)), read=followed(SLURM)),
    Parser(name="follow-htcondor", inputs=texts((CONDORED,)), read=followed(CONDOR)),
    Parser(name="submit-answer", inputs=as_json([JOB_ANSWER, NEEDS_ANSWER]), read=submitted),
    Parser(name="revoke-answer", inputs=as_json([JOB_ANSWER, {**JOB_ANSWER, "job_id": ""}]), read=revoked),
    Parser(name="receive-answer", inputs=as_json([{"have": 3}]), read=received),
    Parser(name="records-answer", inputs=as_json([{"have": [[0, 9], [20, 1000]]}]), read=received_in_parallel),
    Parser(name="build-answer", inputs=as_json([BUILT]), read=built),
    Parser(name="apptainer-version", inputs=texts(("apptainer version 1.4.5\n",)), read=parse_version),
    Parser(name="build-output", inputs=texts((BUILD_LOG,)), read=build_shown),
    Parser(name="logs", inputs=texts((LOGS,)), read=logged),
    Parser(
        name="fetch-listing",
        inputs=texts((LISTING,)),
        read=lambda text: fetched(text, ARCHIVE),
        errors=(HpcdeployError, OSError),
    ),
    Parser(name="fetch-archive", inputs=contents((ARCHIVE,)), read=lambda content: fetched(LISTING, content)),
)
