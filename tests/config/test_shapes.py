"""What a job may say of its shape: what it waits for, how it is warned, started again and spread."""

import pytest

from hpcdeploy.config.job_schema import JOB
from hpcdeploy.config.reading import Report, read
from hpcdeploy.config.task_layout import check_consistency
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import After, Directives, Job, Resources, Retries, Signal


def said_of(key: str, raw: object) -> tuple[object, list[str]]:
    """Return what a job's `key` is read as, and the problems."""
    report = Report(file="f")
    return read(JOB, {key: raw}, report).get(key), report.problems


@pytest.mark.parametrize(
    ("raw", "after"),
    [
        ("prepare", [After(what="prepare")]),
        (["prepare"], [After(what="prepare")]),
        (
            ["afterok:a", "afterany:b-0011", "afternotok:c.1"],
            [After(what="a"), After(what="b-0011", kind="afterany"), After(what="c.1", kind="afternotok")],
        ),
    ],
)
def test_what_a_job_waits_for_is_named_as_in_sbatch(raw: object, after: list[After]) -> None:
    assert said_of("after", raw) == (tuple(after), [])


@pytest.mark.parametrize("raw", ["", "after:x", "singleton:x", "afterok:", "a b", ["ok", "afterok:1:2"], [3], 7, {"a": "b"}])
def test_what_is_no_run_to_wait_for_is_refused(raw: object) -> None:
    _, problems = said_of("after", raw)
    assert problems
    assert all("found" in problem and "expected" in problem for problem in problems)


@pytest.mark.parametrize(
    ("raw", "signal"),
    [
        ("USR1@5 min", Signal(name="USR1", before=300)),
        ("SIGTERM@90s", Signal(name="TERM", before=90)),
        ("USR2", Signal(name="USR2", before=60)),
        ("5 min", Signal(name="USR1", before=300)),
        ("1:00:00", Signal(name="USR1", before=3600)),
    ],
)
def test_a_warning_is_a_signal_a_time_or_both(raw: str, signal: Signal) -> None:
    assert said_of("signal", raw) == (signal, [])


@pytest.mark.parametrize(
    "raw",
    ["", "@5 min", "USR1@", "USR1@300", "B:USR1@60", "KILL@5 min", "INT", "usr1", "300", "20 h", "USR1 5 min", 10, True],
)
def test_what_is_no_warning_is_refused(raw: object) -> None:
    _, problems = said_of("signal", raw)
    assert problems
    assert all("found" in problem and "expected" in problem for problem in problems)


@pytest.mark.parametrize(
    ("raw", "retries"),
    [
        (3, Retries(max=3)),
        ("3", Retries(max=3)),
        ("3 on 75", Retries(max=3, exit_codes=(75,))),
        ("2 on 75, 76,75", Retries(max=2, exit_codes=(75, 76))),
        ({"max": 1}, Retries(max=1)),
        ({"max": 3, "exit-codes": [75, 255]}, Retries(max=3, exit_codes=(75, 255))),
    ],
)
def test_retries_are_a_number_and_the_exit_codes_that_are_worth_one(raw: object, retries: Retries) -> None:
    assert said_of("retries", raw) == (retries, [])


@pytest.mark.parametrize(
    "raw",
    [
        *(0, -1, 1.5, True, [75], "", "3 on", "on 75", "3 on 0", "3 on 256"),
        *({"max": 0}, {"exit-codes": [75]}, {"max": 1, "exit-codes": []}, {"max": 1, "exit-codes": [0]}),
        *({"max": 1, "exit-codes": [True]}, {"max": 1, "exit-codes": 75}),
    ],
)
def test_what_are_no_retries_is_refused(raw: object) -> None:
    assert said_of("retries", raw)[1]


@pytest.mark.parametrize("raw", ["", "list", "PMIX", "pmix v5", "-n", "pmix;id", 5])
def test_what_is_no_plugin_for_mpi_is_refused(raw: object) -> None:
    assert said_of("mpi", raw)[1]


def test_what_a_job_says_of_its_shape_may_go_together() -> None:
    check_consistency(
        Job(
            name="train",
            image="i",
            resources=Resources(nodes=2, cpus=32, time=3600, gpus=4),
            tasks_per_node=4,
            mpi="pmix",
            signal=Signal(before=300),
            requeue=True,
            retries=Retries(max=3),
            slurm=(("exclusive", True), ("gres", "tmpfs:100G"), ("mem-per-cpu", "1G")),
        )
    )


@pytest.mark.parametrize(
    "slurm",
    [
        (("ntasks", "2"),),
        (("ntasks-per-node", "1"), ("gpus-per-task", "4")),
        (("gpus-per-task", "4"), ("gpus", "8")),
        (("gres", "gpu:4"),),
    ],
    ids=str,
)
def test_torchrun_goes_with_words_that_start_it_once_on_each_node(slurm: Directives) -> None:
    check_consistency(Job(name="train", image="i", resources=Resources(nodes=2), launcher="torchrun", slurm=slurm))


@pytest.mark.parametrize(
    ("job", "said"),
    [
        (Job(name="train", image="i", requeue=False, retries=Retries(max=1)), "requeue = false forbids that"),
        (
            Job(name="train", image="i", resources=Resources(time=60), signal=Signal()),
            "60 s before the time limit, which is 60 s",
        ),
        (Job(name="train", image="i", resources=Resources(cpus=10), tasks_per_node=4), "expected a multiple of 4"),
        (Job(name="train", image="i", launcher="torchrun", mpi="pmix"), "mpi applies to processes that srun starts"),
        (Job(name="train", image="i", launcher="torchrun", command=("-m", "train")), 'such as ["python", "-m", "train"]'),
        (Job(name="train", image="i", launcher="torchrun", slurm=(("ntasks", "8"),)), "slurm.ntasks starts several tasks"),
        (
            Job(name="train", image="i", launcher="torchrun", slurm=(("gpus-per-task", "1"), ("ntasks", "8"))),
            "Use the key tasks-per-node",
        ),
        (Job(name="train", image="i", launcher="torchrun", slurm=(("ntasks-per-gpu", "1"),)), "slurm.ntasks-per-gpu"),
        (Job(name="train", image="i", slurm=(("mem", "1G"), ("mem-per-gpu", "1G"))), "memory with mem and mem-per-gpu"),
        (Job(name="train", image="i", slurm=(("gres", "ssd,gpu:2"), ("gpus-per-node", "2"))), "gres and gpus-per-node"),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_reason(job: Job, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_consistency(job)
    assert said in str(refused.value)
    assert str(refused.value).startswith("job train: ")


@pytest.mark.parametrize("option", ["array", "wrap", "output", "chdir", "comment", "quiet", "mpi", "open-mode", "nodes"])
def test_options_that_would_break_the_script_are_refused_with_the_reason(option: str) -> None:
    _, problems = said_of("slurm", {option: "1"})
    assert len(problems) == 1
    assert "must not be set: " in problems[0]
