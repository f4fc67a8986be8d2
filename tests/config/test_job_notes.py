"""What is said of a job that is allowed all the same."""

from dataclasses import replace

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.config.job_notes import job_notes
from hpcdeploy.job import Job, Resources

CLUSTER = Cluster(name="hpc", gpu_form="gpus")
JOB = Job(name="train", image="i")


def test_gpus_of_all_nodes_together_are_noted() -> None:
    job = replace(JOB, resources=Resources(nodes=3, gpus=2))
    [note] = job_notes(job, CLUSTER, "slurm")
    assert note.startswith("gpus = 2 on 3 nodes becomes --gpus=6,")
    assert job_notes(job, replace(CLUSTER, gpu_form="gres"), "slurm") == ()
    assert job_notes(replace(JOB, resources=Resources(gpus=2)), CLUSTER, "slurm") == ()
    assert job_notes(replace(JOB, resources=Resources(nodes=3)), CLUSTER, "slurm") == ()


def test_options_that_not_every_release_has_are_noted() -> None:
    job = replace(
        JOB,
        slurm=(("segment", "2"), ("power", "x"), ("nice", "1"), ("+plugin", "1")),
        srun=(("treewidth", "2"), ("wait", "9")),
    )
    assert job_notes(job, CLUSTER, "slurm") == (
        "slurm.segment: sbatch has --segment in Slurm 24.05 and later; other releases reject it",
        "slurm.power: sbatch has --power in Slurm 23.11 and earlier; other releases reject it",
        "srun.treewidth: srun has --treewidth in Slurm 23.11 and later; other releases reject it",
    )


@pytest.mark.parametrize("value", ["short", "my-project", "team/project", "me@site.org", "2024-project", "a.b"])
@pytest.mark.parametrize("name", ["+Queue", "My.Queue"])
def test_an_attribute_without_quotes_is_noted_as_what_it_is(name: str, value: str) -> None:
    [note] = job_notes(replace(JOB, htcondor=((name, value),)), CLUSTER, "htcondor")
    assert f"{value} without quotes" in note
    assert f"""write '"{value}"'""" in note


@pytest.mark.parametrize(
    "value", ["true", "False", "undefined", "3", "1.5e-3", "10G", '"short"', "TARGET.Memory", "Memory > 3", "(short)", "-3"]
)
def test_what_is_no_bare_word_is_not(value: str) -> None:
    assert job_notes(replace(JOB, htcondor=(("+Queue", value),)), CLUSTER, "htcondor") == ()


def test_submit_commands_are_no_attributes() -> None:
    assert job_notes(replace(JOB, htcondor=(("accounting_group", "short"),)), CLUSTER, "htcondor") == ()
