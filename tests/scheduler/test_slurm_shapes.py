"""How a job's shape is said to Slurm, and to HTCondor where it has a word for it."""

import re
import shlex
import subprocess
from dataclasses import replace

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Bind, Directives, Job, Launcher, Resources, Retries, Signal
from hpcdeploy.remote.submission_script import submission
from hpcdeploy.run import State
from hpcdeploy.scheduler import slurm
from hpcdeploy.scheduler.contract import Answer
from hpcdeploy.scheduler.htcondor.submit_description import refuse_shapes
from hpcdeploy.scheduler.slurm.directives import directives
from tests.scheduler.samples import CACHED, CLUSTER, PLAIN, run_of

RANKS = Job(name="ranks", image="i", resources=Resources(nodes=2, cpus=16, gpus=4, memory=64000), tasks_per_node=4)


def said(job: Job, cluster: Cluster = CLUSTER) -> dict[str, str | None]:
    return dict(directives(job, cluster, "run-1"))


def script_of(job: Job) -> str:
    return submission(run_of(job), job, CLUSTER, CACHED)


def test_amounts_are_a_nodes_and_shared_among_its_processes() -> None:
    options = said(RANKS)
    assert (options["nodes"], options["ntasks-per-node"], options["cpus-per-task"]) == ("2", "4", "4")
    assert (options["gres"], options["mem"]) == ("gpu:4", "64000M")
    assert said(RANKS, replace(CLUSTER, memory_form="mem-per-cpu"))["mem-per-cpu"] == "4000M"
    without_cpus = replace(RANKS, resources=replace(RANKS.resources, cpus=None))
    assert said(without_cpus, replace(CLUSTER, memory_form="mem-per-cpu"))["mem-per-cpu"] == "16000M"


@pytest.mark.parametrize(
    ("slurm", "cpus"),
    [
        ((("ntasks", "8"),), "4"),
        ((("ntasks-per-node", "4"),), "4"),
        ((("tasks-per-node", "2"),), "8"),
        ((("gpus-per-task", "1"), ("ntasks", "4")), "8"),
        ((("ntasks", False),), "16"),
    ],
    ids=str,
)
def test_amounts_are_a_nodes_too_where_slurms_own_words_say_how_many_processes_it_has(slurm: Directives, cpus: str) -> None:
    job = Job(name="free", image="i", resources=Resources(nodes=2, cpus=16, memory=64000), slurm=slurm)
    by_cpu = said(job, replace(CLUSTER, memory_form="mem-per-cpu"))
    assert (by_cpu["cpus-per-task"], by_cpu["mem-per-cpu"]) == (cpus, "4000M")


@pytest.mark.parametrize(
    ("slurm", "gpus", "memory"),
    [
        ((("ntasks", "8"),), None, "16000M"),
        ((("cpus-per-task", "4"),), None, "16000M"),
        ((("cpus-per-task", "4"), ("ntasks-per-node", "2")), None, "8000M"),
        ((("cpus-per-gpu", "8"),), 2, "4000M"),
        ((), None, "64000M"),
    ],
    ids=str,
)
def test_memory_is_shared_among_all_cpus_that_slurms_own_words_ask_for(
    slurm: Directives, gpus: int | None, memory: str
) -> None:
    job = Job(name="free", image="i", resources=Resources(nodes=2, gpus=gpus, memory=64000), slurm=slurm)
    assert said(job, replace(CLUSTER, memory_form="mem-per-cpu"))["mem-per-cpu"] == memory
    assert said(job)["mem"] == "64000M"


@pytest.mark.parametrize(
    ("slurm", "resources", "why"),
    [
        ((("ntasks-per-gpu", "1"), ("gpus", "4")), Resources(cpus=8), "use slurm = { cpus-per-task"),
        ((("ntasks-per-gpu", "1"), ("gpus", "4")), Resources(memory=8), "use slurm = { mem-per-cpu"),
        ((("ntasks", "3"),), Resources(cpus=8), "expected a multiple of 3"),
    ],
    ids=str,
)
def test_amounts_of_a_node_that_cannot_be_shared_are_refused(slurm: Directives, resources: Resources, why: str) -> None:
    job = Job(name="free", image="i", resources=resources, slurm=slurm)
    with pytest.raises(ConfigError, match=re.escape(why)):
        said(job, replace(CLUSTER, memory_form="mem-per-cpu"))


@pytest.mark.parametrize("option", ["sockets-per-node", "cores-per-socket", "threads-per-core", "extra-node-info"])
def test_options_that_choose_nodes_make_no_more_processes(option: str) -> None:
    assert said(replace(PLAIN, slurm=((option, "2"),)))["ntasks"] == "1"
    assert said(replace(RANKS, slurm=((option, "2"),)))["ntasks"] == "8"
    assert said(replace(RANKS, launcher="torchrun", slurm=((option, "2"),)))["ntasks"] == "2"
    assert said(replace(PLAIN, slurm=((option, "2"), ("ntasks", "4"))))["ntasks"] == "4"
    assert "ntasks" not in said(RANKS)


def test_each_process_may_reach_the_gpus_of_its_neighbours() -> None:
    assert not {"gpus-per-task", "gpu-bind"} & said(RANKS).keys()
    assert "gpus-per-task" not in script_of(RANKS)


def test_only_a_job_of_several_nodes_asks_slurm_where_its_first_process_is() -> None:
    assert "HPCDEPLOY_LEADER" in script_of(RANKS)
    assert "HPCDEPLOY_LEADER" not in script_of(replace(RANKS, resources=replace(RANKS.resources, nodes=1)))


def arguments_of_srun(job: Job, **environment: str) -> list[str]:
    """Return what bash makes of the options on the job's own line for srun, in a job with these variables."""
    line = next(line for line in script_of(job).splitlines() if line.startswith("srun --kill-on-bad-exit=1"))
    words = line.removeprefix("srun ").partition(" bash ")[0]
    done = subprocess.run(
        ["bash", "-uc", f"printf '%s\\n' {words}"], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("launcher", ["srun", "torchrun"])
def test_srun_is_told_the_cores_of_a_process_where_sbatch_was(launcher: Launcher) -> None:
    job = replace(RANKS, launcher=launcher)
    tasks = f"--ntasks-per-node={1 if launcher == 'torchrun' else 4}"
    assert arguments_of_srun(job, SLURM_CPUS_PER_TASK="4") == ["--kill-on-bad-exit=1", tasks, "--cpus-per-task=4"]


@pytest.mark.parametrize("slurm", [(), (("exclusive", True),), (("cpus-per-gpu", "8"),)], ids=str)
def test_processes_share_all_cores_of_the_job_where_nobody_said_how_many_each_has(slurm: Directives) -> None:
    for job in (RANKS, replace(RANKS, launcher="torchrun")):
        free = replace(job, resources=replace(job.resources, cpus=None), slurm=slurm)
        assert "cpus-per-task" not in said(free)
        # sbatch sets SLURM_CPUS_PER_GPU for the one, and SLURM_CPUS_PER_TASK for none of them (sbatch(1)).
        assert not [word for word in arguments_of_srun(free, SLURM_CPUS_PER_GPU="8") if "cpus" in word]


def test_torchrun_is_one_process_of_slurms_with_all_cores() -> None:
    options = said(replace(RANKS, launcher="torchrun"))
    assert (options["ntasks-per-node"], options["cpus-per-task"]) == ("1", "16")
    script = script_of(replace(RANKS, launcher="torchrun"))
    assert '--node_rank="$SLURM_PROCID" --nproc_per_node=4' in script


def test_torchrun_starts_a_process_for_each_gpu_unless_it_is_told_how_many() -> None:
    job = replace(RANKS, launcher="torchrun", tasks_per_node=None, resources=Resources(nodes=2, gpus=3))
    assert "--nproc_per_node=3" in script_of(job)
    assert "--nproc_per_node=1 " in script_of(replace(job, resources=Resources(nodes=2)))


def torchruns_processes(job: Job, **environment: str) -> str:
    text = script_of(job)
    word = text.partition("--nproc_per_node=")[2].partition(" ")[0]
    done = subprocess.run(["sh", "-uc", f"printf %s {word}"], env=environment, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("gres", "gpu:a100:8"),
        ("gpus-per-node", "a100:8"),
        ("gpus", "16"),
        ("gpus-per-socket", "4"),
        ("gpus-per-task", "8"),
        ("tres-per-task", "gres/gpu=8"),
        ("exclusive", True),
    ],
)
def test_torchrun_starts_a_process_for_each_gpu_that_slurms_own_words_bring(option: str, value: str | bool) -> None:
    slurm: Directives = ((option, value), *((("sockets-per-node", "2"),) if "socket" in option else ()))
    job = Job(name="torch", image="i", resources=Resources(nodes=2), launcher="torchrun", slurm=slurm)
    assert torchruns_processes(job, SLURM_GPUS_ON_NODE="8") == "8"
    assert said(job)["ntasks-per-node"] == "1"
    assert "--ntasks-per-node=1" in arguments_of_srun(job)
    assert torchruns_processes(replace(job, tasks_per_node=3), SLURM_GPUS_ON_NODE="8") == "3"


@pytest.mark.parametrize(("gres", "processes"), [("gpu_a100:8", "8"), ("gpu:v100:2,gpu:a100:1", "3"), ("shard:4", "1")])
def test_torchrun_starts_as_many_processes_as_gres_says_where_the_node_does_not(gres: str, processes: str) -> None:
    job = Job(name="torch", image="i", launcher="torchrun", slurm=(("gres", gres),))
    assert torchruns_processes(job) == processes


def test_one_process_is_started_without_srun() -> None:
    assert "srun -" not in script_of(PLAIN)
    assert "ntasks-per-node" not in said(PLAIN)


ONE_PROCESS: tuple[Directives, ...] = (
    (("ntasks", "1"),),
    (("ntasks-per-node", "1"),),
    (("ntasks", False),),
    (("gres", "gpu:2"),),
    (("exclusive", True),),
    (("cpus-per-gpu", "8"), ("gpus", "1")),
    (("tres-per-task", "cpu=2"),),
    (("tres-per-task", "cpu=2,gres/gpu=1"), ("ntasks", "1")),
)
SEVERAL_PROCESSES: tuple[Directives, ...] = (
    (("gpus-per-task", "1"), ("ntasks", "8")),
    (("gpus-per-task", "1"), ("gpus", "2")),
    (("tres-per-task", "gres/gpu=1"), ("gpus", "2")),
    (("ntasks", "2"),),
    (("ntasks-per-node", "4"),),
    (("tasks-per-node", "4"),),
    (("ntasks-per-gpu", "2"), ("gpus", "1")),
    (("gpu-bind", "per_task:1"),),
)


@pytest.mark.parametrize("slurm", SEVERAL_PROCESSES, ids=str)
def test_slurms_own_words_for_processes_make_srun_start_them(slurm: Directives) -> None:
    text = script_of(Job(name="free", image="i", slurm=slurm))
    assert "\nsrun --kill-on-bad-exit=1 " in text
    assert 'write "$run/rank.sh"' in text


@pytest.mark.parametrize("slurm", ONE_PROCESS, ids=str)
def test_slurms_own_words_for_one_process_need_no_srun(slurm: Directives) -> None:
    assert "srun -" not in script_of(Job(name="free", image="i", slurm=slurm))


@pytest.mark.parametrize("option", ["ntasks", "ntasks-per-node", "tasks-per-node", "ntasks-per-gpu", "gpus-per-task"])
def test_a_person_may_say_how_many_processes_there_are_in_slurms_own_words(option: str) -> None:
    job = Job(name="free", image="i", resources=Resources(nodes=2), slurm=((option, "3"),))
    assert [one for one in directives(job, CLUSTER, "r") if one[0].startswith("ntasks") and one[0] != option] == []
    assert arguments_of_srun(job, SLURM_CPUS_PER_TASK="2") == ["--kill-on-bad-exit=1", "--cpus-per-task=2"]


def test_each_process_has_gpus_of_its_own_beside_a_number_of_processes_for_each_node() -> None:
    job = Job(name="ranks", image="i", resources=Resources(nodes=2), tasks_per_node=4, slurm=(("gpus-per-task", "1"),))
    chosen = dict(directives(job, CLUSTER, "r"))
    assert (chosen["nodes"], chosen["ntasks-per-node"], chosen["gpus-per-task"]) == ("2", "4", "1")
    assert arguments_of_srun(job) == ["--kill-on-bad-exit=1", "--ntasks-per-node=4"]


SHAPES = (
    Job(name="one", image="i"),
    Job(name="ranks", image="i", resources=Resources(nodes=2), tasks_per_node=2, mpi="pmix"),
    Job(name="torch", image="i", resources=Resources(nodes=2), launcher="torchrun"),
)


@pytest.mark.parametrize("job", SHAPES, ids=lambda job: job.name)
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("gres", "gpu:a100:1,ssd"),
        ("gres", "craynetwork:1,gpu:mi250:2"),
        ("gres", "shard:2"),
        ("gres", "mps:50"),
        ("gpus", "2"),
        ("gpus-per-socket", "1"),
        ("gpus-per-task", "1"),
        ("tres-per-task", "cpu=2,gres/gpu=1"),
    ],
)
def test_gpus_in_slurms_own_words_reach_the_container_too(job: Job, option: str, value: str) -> None:
    asking = script_of(replace(job, slurm=((option, value),)))
    assert "gpu=--nv\n" in asking
    assert GIVEN in asking


GIVEN = ' exec --no-eval ${gpu:+"$gpu"} --pwd '


@pytest.mark.parametrize(
    ("option", "value"), [("gres", "ssd"), ("gres", "gpu:0"), ("gpus", "0"), ("tres-per-task", "cpu=2")]
)
def test_a_container_without_gpus_gets_no_flag(option: str, value: str) -> None:
    text = script_of(Job(name="free", image="i", slurm=((option, value),)))
    assert " exec --no-eval --pwd " in text
    assert not re.search("gpu=|--nv|--rocm", text)


@pytest.mark.parametrize("job", SHAPES, ids=lambda job: job.name)
def test_the_vendor_is_told_by_the_device_on_the_node_or_by_the_cluster(job: Job) -> None:
    job = replace(job, resources=replace(job.resources, gpus=2))
    detected = "gpu=--nv\ngpu_drivers=(nvidiactl=--nv kfd=--rocm)\n"
    assert detected in script_of(job)
    text = submission(run_of(job), job, replace(CLUSTER, gpu_vendor="amd"), CACHED)
    assert "gpu=--rocm\n" in text
    assert GIVEN in text
    assert "--nv" not in text
    assert "kfd" not in text


def test_no_gpus_are_none_even_where_a_job_has_its_nodes_for_itself() -> None:
    text = script_of(Job(name="alone", image="i", resources=Resources(gpus=0), slurm=(("exclusive", True),)))
    assert " exec --no-eval --pwd " in text
    assert not re.search("gpu=|--nv|--rocm", text)


def test_a_job_that_has_its_nodes_for_itself_has_the_gpus_that_are_there() -> None:
    text = script_of(Job(name="alone", image="i", slurm=(("exclusive", True),)))
    assert 'gpu=""\ngpu_drivers=(nvidiactl=--nv kfd=--rocm)\n' in text
    assert GIVEN in text


@pytest.mark.parametrize("option", ["gpus-per-socket", "tres-per-task"])
def test_a_site_that_gave_gpus_names_may_be_asked_in_any_of_slurms_words(option: str) -> None:
    wanted = Resources(gpu_memory=40_000)
    with pytest.raises(ConfigError, match="gpu-memory"):
        said(Job(name="free", image="i", resources=wanted))
    assert said(Job(name="free", image="i", resources=wanted, slurm=((option, "gres/gpu:a100_40=1"),)))


def test_generic_resources_of_a_persons_own_stand_beside_the_gpus() -> None:
    job = replace(RANKS, slurm=(("gres", "tmpfs:100G"), ("exclusive", True)))
    assert [value for option, value in directives(job, CLUSTER, "r") if option == "gres"] == ["gpu:4,tmpfs:100G"]
    options = said(job, replace(CLUSTER, gpu_form="gpus-per-node"))
    assert (options["gres"], options["gpus-per-node"]) == ("tmpfs:100G", "4")


def test_a_warning_goes_to_the_script_and_not_to_the_step() -> None:
    assert said(replace(PLAIN, signal=Signal(name="USR2", before=300)))["signal"] == "B:USR2@300"


@pytest.mark.parametrize(
    ("job", "options"),
    [
        (PLAIN, set()),
        (replace(PLAIN, requeue=True), {"requeue"}),
        (replace(PLAIN, requeue=False), {"no-requeue"}),
        (replace(PLAIN, retries=Retries(max=1)), {"requeue"}),
    ],
)
def test_the_site_says_whether_a_run_is_started_again_unless_the_job_does(job: Job, options: set[str]) -> None:
    assert {"requeue", "no-requeue"} & said(job).keys() == options


def test_an_end_that_a_requeue_brought_is_none_while_squeue_cannot_be_asked() -> None:
    run = run_of(PLAIN, job_id="12")
    answers = {
        "squeue": Answer(text="", exit_code=1),
        "sacct": Answer(text=f"12|REQUEUED|0:0|node1|1|2||{run.id}\n", exit_code=0),
        "records": Answer(text=f"{run.id} 0 start 1 12 node1\n{run.id} 0 end 2 143\n", exit_code=0),
    }
    assert slurm.states(answers, [run])[run.id][0].state is State.PENDING


@pytest.mark.parametrize(
    "job",
    [
        replace(PLAIN, tasks_per_node=2),
        replace(PLAIN, launcher="srun"),
        replace(PLAIN, mpi="pmix"),
    ],
)
def test_htcondor_refuses_what_it_has_no_word_for(job: Job) -> None:
    with pytest.raises(ConfigError, match="which HTCondor does not support"):
        refuse_shapes(job)


def steps_of(script: str) -> list[str]:
    """Return the words of the srun that starts the processes, as bash reads them."""
    [line] = [line for line in script.splitlines() if line.startswith("srun -") and "rank.sh" in line]
    return shlex.split(line.partition(" bash ")[0])


@pytest.mark.parametrize("job", [PLAIN, RANKS, replace(RANKS, launcher="torchrun")], ids=["one", "ranks", "torchrun"])
def test_what_is_sruns_reaches_the_step_that_starts_the_processes_and_sbatch_never(job: Job) -> None:
    own = (("label", True), ("wait", "900"), ("+plugin", "a b"), ("unbuffered", False))
    job = replace(job, srun=own, slurm=(("+sized", "1"), ("nice", "2")))
    words = steps_of(script_of(job))
    assert words[-3:] == ["--label", "--wait=900", "--plugin=a b"]
    assert not {"label", "wait", "plugin", "unbuffered"} & said(job).keys()
    assert (said(job)["sized"], said(job)["nice"]) == ("1", "2")


@pytest.mark.parametrize("option", ["gpu-bind", "mem-bind", "tres-bind", "cpu-freq"])
def test_what_only_a_step_follows_makes_one(option: str) -> None:
    assert steps_of(script_of(replace(PLAIN, slurm=((option, "x"),))))
    assert "srun -" not in script_of(replace(PLAIN, slurm=((option, False),)))
    assert "srun -" not in script_of(replace(PLAIN, srun=(("label", False),)))


def exported(value: str) -> list[str]:
    job = replace(
        PLAIN, workdir="$WORK/x", binds=(Bind(source="${DATA}/y"), Bind(source="/plain")), srun=(("export", value),)
    )
    [word] = [word for word in steps_of(script_of(job)) if word.startswith("--export=")]
    return word.removeprefix("--export=").split(",")


def test_an_export_keeps_what_the_jobs_own_script_needs() -> None:
    assert exported("ALL") == ["ALL"]
    assert exported("A=1,all") == ["A=1", "all"]
    none = exported("NONE")
    assert {"PATH", "HOME", "TMPDIR", "MASTER_ADDR", "MASTER_PORT", "HPCDEPLOY_RESTART", "WORK", "DATA"} <= set(none)
    assert "NONE" not in none
    assert exported("B,PATH=/x,none,C")[:2] == ["B", "PATH=/x"]
    assert sorted(exported("B,PATH=/x,NONE,C")[2:]) == sorted(set(none) - {"PATH"})
