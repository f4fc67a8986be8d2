"""Options for a scheduler on the command line, and what is noted of a job."""

from pathlib import Path

import pytest

from tests.cli.test_command import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_options_of_srun_reach_its_command_line(project: Project) -> None:
    done = project.run("render", "train", "--srun", "label", "--srun", "cpu-bind=map_cpu:0,1", "--slurm", "nice=1")
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stdout.decode().splitlines() if line.startswith("srun -")]
    assert " --label --cpu-bind=map_cpu:0,1 bash " in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--slurm", "cpu-bind=cores"),
            "only srun has the option --cpu-bind, not sbatch; set it in the job's table srun",
        ),
        (("--slurm", "cpus-per-node=4"), "has no option --cpus-per-node in Slurm 22.05 to 26.05; did you mean"),
        (("--srun", "ntasks=4"), "this option applies to the job, not to the step"),
        (("--srun", "label=1"), "srun.label: srun --label takes no value; expected true"),
        (("--memory", "0"), 'To request all memory of a node, use slurm = { mem = "0" }'),
        (("--gpus", "0", "--slurm", "gres=gpu:1"), "gpus = 0 requests no GPU, but slurm.gres does; expected only"),
    ],
)
def test_what_slurm_would_refuse_is_one_message_before_anything_is_sent(
    project: Project, words: tuple[str, ...], said: str
) -> None:
    done = project.run("render", "train", *words)
    assert (done.returncode, done.stdout) == (2, b"")
    assert said in done.stderr.decode()


def test_what_is_noted_of_a_job_is_told_beside_the_script(project: Project) -> None:
    done = project.run("render", "train", "--slurm", "segment=2")
    assert done.returncode == 0, done.stderr
    assert (
        "note: slurm.segment: sbatch has --segment in Slurm 24.05 and later; other releases reject it"
        in done.stderr.decode()
    )
    assert done.stdout.startswith(b"#!/bin/bash\n")
