"""Options of sbatch and of srun: which there are, what they take, and which table they belong to."""

import pytest

from hpcdeploy.config.job_schema import JOB
from hpcdeploy.config.reading import Report, read
from hpcdeploy.config.slurm_options import SBATCH, SRUN
from hpcdeploy.config.task_layout import check_consistency
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Job


def problems_of(table: str, option: str, value: object = "1") -> list[str]:
    report = Report(file="f")
    read(JOB, {table: {option: value}}, report)
    return report.problems


@pytest.mark.parametrize("option", sorted(SRUN.keys() - SBATCH.keys()))
def test_options_of_srun_alone_are_refused_for_sbatch(option: str) -> None:
    [problem] = problems_of("slurm", option)
    expected = (
        "only srun has this option, not sbatch; use the key mpi" if option == "mpi" else "set it in the job's table srun"
    )
    assert expected in problem


@pytest.mark.parametrize(
    ("table", "option", "meant"),
    [
        ("slurm", "cpus-per-node", "gpus-per-node"),
        ("slurm", "constrain", "constraint"),
        ("srun", "cpu-binding", "cpu-bind"),
        ("srun", "labels", "label"),
    ],
)
def test_an_option_that_no_release_has_is_refused_with_the_nearest(table: str, option: str, meant: str) -> None:
    [problem] = problems_of(table, option)
    program = "sbatch" if table == "slurm" else "srun"
    assert f"{program} has no option --{option} in Slurm 22.05 to 26.05; did you mean {meant}?" in problem


def test_what_is_like_no_option_is_refused_without_a_guess() -> None:
    assert "did you mean" not in problems_of("slurm", "zzzzzz")[0]


@pytest.mark.parametrize("table", ["slurm", "srun"])
def test_a_sites_plugin_may_have_options_of_its_own(table: str) -> None:
    assert problems_of(table, "+tmpfs-size", "10G") == []
    [problem] = problems_of(table, "tmpfs-size", "10G")
    assert 'Write "+tmpfs-size" if a plugin of the site adds the option' in problem
    for own in ("+wrap", "+cpu-bind", "+jobid"):
        assert 'and "+" is for options of plugins' in problems_of(table, own)[0]
    assert "expected the long name" in problems_of(table, "+-x")[0]


def test_what_is_sruns_is_taken() -> None:
    report = Report(file="f")
    given = {"cpu-bind": "map_cpu:0,1", "label": True, "wait": 900, "export": "NONE", "unbuffered": False, "exact": True}
    assert read(JOB, {"srun": given}, report)["srun"] == {**given, "wait": "900"}
    assert report.problems == []


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("mpi", "use the key mpi"),
        ("pty", "a job has no terminal"),
        ("bcast", "the option would copy the shell"),
        ("output", "see them with: hpcdeploy logs"),
        ("nodes", "use the key nodes"),
        ("ntasks", "applies to the job, not to the step; set it in the job's table slurm"),
        ("cpus-per-task", "applies to the job, not to the step"),
        ("array", "only sbatch has the option --array, not srun"),
        ("x", "expected the long name of an option of srun"),
    ],
)
def test_what_is_not_a_persons_or_not_a_steps_is_refused_with_the_reason(option: str, said: str) -> None:
    [problem] = problems_of("srun", option)
    assert said in problem


@pytest.mark.parametrize(
    ("job", "said"),
    [
        (Job(name="j", image="i", slurm=(("contiguous", "yes"),)), "slurm.contiguous: sbatch --contiguous takes no value"),
        (Job(name="j", image="i", slurm=(("constraint", True),)), "slurm.constraint: sbatch --constraint needs a value"),
        (Job(name="j", image="i", srun=(("label", "1"),)), "srun.label: srun --label takes no value; expected true"),
        (Job(name="j", image="i", srun=(("cpu-bind", True),)), "srun.cpu-bind: srun --cpu-bind needs a value"),
        (Job(name="j", image="i", srun=(("export", "nil"),)), "NIL is valid for sbatch only"),
        (Job(name="j", image="i", launcher="torchrun", srun=(("cpu-bind", "verbose,cores"),)), "srun.cpu-bind binds each"),
        (Job(name="j", image="i", launcher="torchrun", srun=(("accel-bind", "g"),)), "srun.accel-bind binds each"),
        (Job(name="j", image="i", launcher="torchrun", slurm=(("gpu-bind", "closest"),)), "slurm.gpu-bind binds each"),
    ],
)
def test_what_an_option_cannot_be_is_refused_before_slurm_sees_it(job: Job, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_consistency(job)
    assert said in str(refused.value)


@pytest.mark.parametrize("value", ["none", "verbose", "quiet,none"])
def test_torchrun_may_say_that_nothing_is_bound(value: str) -> None:
    check_consistency(Job(name="j", image="i", launcher="torchrun", srun=(("cpu-bind", value), ("label", True))))
