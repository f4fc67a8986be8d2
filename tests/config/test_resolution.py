"""Which job is meant, and what it asks for once every place has had its say."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.config.job_schema import JOB
from hpcdeploy.config.named_files import admit_all
from hpcdeploy.config.project import JobSettings, Project
from hpcdeploy.config.resolution import choose_cluster, choose_image, resolve_job
from hpcdeploy.errors import ConfigError
from hpcdeploy.image import ImageSettings
from hpcdeploy.job import Array, Bind, Job, Resources
from hpcdeploy.source import PixiSource

PROJECT = Project(
    root=Path("/p"),
    file=Path("/p/hpcdeploy.toml"),
    images={"gpu": ImageSettings(name="gpu", source=PixiSource())},
    clusters={"hpc": Cluster(name="hpc")},
    jobs={"train": JobSettings()},
    origins={"jobs.train.image": "/p/hpcdeploy.toml"},
)


def with_job(job: JobSettings, defaults: JobSettings | None = None) -> Project:
    return replace(PROJECT, jobs={"train": job}, defaults={"hpc": defaults or JobSettings()})


def refusal(project: Project, job: str | None = "train", cluster: str | None = "hpc") -> str:
    with pytest.raises(ConfigError) as refused:
        resolve_job(project, job, cluster)
    return str(refused.value)


def test_the_defaults_give_way_to_the_job_and_the_job_to_the_options() -> None:
    project = with_job(
        JobSettings(
            command=("python",),
            gpus=2,
            memory=2,
            environment=(("B", "job"), ("C", "job")),
            binds=(Bind(source="/job", destination="/mnt"),),
            slurm=(("exclusive", False), ("nice", "1")),
            htcondor=(("Rank", "job"),),
            array=Array(size=3),
        ),
        JobSettings(
            gpus=1,
            memory=1,
            partition="gpu",
            time=60,
            environment=(("A", "site"), ("B", "site")),
            binds=(Bind(source="/site", destination="/mnt"), Bind(source="/data")),
            slurm=(("exclusive", True), ("signal", "USR1")),
            htcondor=(("rank", "site"),),
        ),
    )
    options = JobSettings(memory=3, command=("sh", ""), environment=(("C", "option"),), slurm=(("nice", "2"),), workdir="/w")
    assert resolve_job(project, "train", "hpc", options) == Job(
        name="train",
        image="gpu",
        command=("sh", ""),
        resources=Resources(gpus=2, memory=3, partition="gpu", time=60),
        environment=(("A", "site"), ("B", "job"), ("C", "option")),
        binds=(Bind(source="/job", destination="/mnt"), Bind(source="/data")),
        array=Array(size=3),
        workdir="/w",
        slurm=(("signal", "USR1"), ("nice", "2")),
        htcondor=(("Rank", "job"),),
    )


def test_no_gpus_asked_for_on_the_command_line_takes_the_jobs_away() -> None:
    job = resolve_job(with_job(JobSettings(gpus=4)), "train", "hpc", JobSettings(gpus=0))
    assert job.resources.gpus == 0


def test_the_only_job_and_the_only_cluster_need_no_name() -> None:
    assert resolve_job(PROJECT, None, None) == Job(name="train", image="gpu")


def test_a_project_without_jobs_runs_what_the_command_line_says() -> None:
    job = resolve_job(replace(PROJECT, jobs={}), None, None, JobSettings(command=("hostname",)))
    assert job == Job(name="job", image="gpu", command=("hostname",))


@pytest.mark.parametrize(
    ("image", "resolved"),
    [
        ("gpu", "gpu"),
        ("out/x.sif", "/p/out/x.sif"),
        ("/x.sif", "/x.sif"),
        ("~/x.sif", str(Path.home() / "x.sif")),
        ("oras://ghcr.io/me/x:1", "oras://ghcr.io/me/x:1"),
    ],
)
def test_an_image_is_one_of_the_projects_or_a_file_or_a_reference(image: str, resolved: str) -> None:
    assert resolve_job(with_job(JobSettings(image=image)), "train", "hpc", admit=admit_all).image == resolved


def test_unknown_names_are_refused_with_the_nearest() -> None:
    assert refusal(PROJECT, "trian") == 'found "trian"; no job has that name, did you mean train? Known: train'
    assert refusal(PROJECT, cluster="zzz") == 'found "zzz"; no cluster has that name. Known: hpc'
    no_job = 'found "x"; no job has that name. The settings have no job; a program comes after --'
    assert refusal(replace(PROJECT, jobs={}), "x") == no_job
    expected = "expected gpu, a path to a .sif, an oras:// reference, or for HTCondor a URL such as docker:// or osdf://"
    for image, advice in (
        ("gpus", "; did you mean gpu?"),
        ("osfd:///x.sif", "; did you mean osdf://?"),
        ("smb://x/y.sif", ""),
    ):
        assert refusal(with_job(JobSettings(image=image))) == (
            f'/p/hpcdeploy.toml: job train: found the image "{image}"; {expected}{advice}'
        )


def test_a_name_is_needed_where_there_are_several_or_none() -> None:
    several = replace(PROJECT, clusters={"a": Cluster(name="a"), "b": Cluster(name="b")})
    with pytest.raises(ConfigError, match=r"^no cluster is selected; there are a, b: choose one with --cluster$"):
        choose_cluster(several, None)
    with pytest.raises(ConfigError, match=r"none: run 'hpcdeploy init', or add \[images\.NAME\]$"):
        choose_image(replace(PROJECT, images={}), None)
    assert refusal(replace(PROJECT, jobs={"a": JobSettings(), "b": JobSettings()}), None) == (
        "no job is selected; there are a, b: choose one"
    )
    assert refusal(replace(PROJECT, images={})) == (
        "job train has no image, and the project has 0; use a .sif file or an oras:// reference"
    )
    assert choose_image(PROJECT, None).name == "gpu"


@pytest.mark.parametrize(
    ("scheduler", "job", "said"),
    [
        ("slurm", JobSettings(gpus=1, slurm=(("gres", "gpu:2"),)), "gpus and slurm.gres"),
        ("slurm", JobSettings(gpus=1, slurm=(("gres", "ssd,shard:2"),)), "gpus and slurm.gres"),
        ("slurm", JobSettings(gpus=1, slurm=(("gpus-per-socket", "1"),)), "gpus and slurm.gpus-per-socket"),
        ("slurm", JobSettings(gpus=1, slurm=(("tres-per-task", "gres/gpu=1"),)), "gpus and slurm.tres-per-task"),
        (
            "slurm",
            JobSettings(tasks_per_node=2, slurm=(("tasks-per-node", "4"),)),
            "tasks-per-node and slurm.tasks-per-node",
        ),
        ("slurm", JobSettings(memory=1, slurm=(("mem-per-cpu", "1"),)), "memory and slurm.mem-per-cpu"),
        ("slurm", JobSettings(constraint="a", slurm=(("constraint", "b"),)), "constraint and slurm.constraint"),
        ("htcondor", JobSettings(cpus=1, htcondor=(("Request_CPUs", "2"),)), "cpus and htcondor.request_cpus"),
    ],
)
def test_a_key_and_its_directive_together_are_refused(scheduler: str, job: JobSettings, said: str) -> None:
    cluster = Cluster(name="hpc", schedulers=("slurm",) if scheduler == "slurm" else ("htcondor",))
    project = replace(with_job(job), clusters={"hpc": cluster})
    assert refusal(project) == f"job train on hpc: {said} request the same thing; expected only one of the two"


@pytest.mark.parametrize(
    ("words", "default", "left"),
    [
        (JobSettings(slurm=(("mem", "0"),)), JobSettings(memory=8), Resources()),
        (JobSettings(slurm=(("time", "0"),)), JobSettings(time=8), Resources()),
        (JobSettings(slurm=(("gres", "gpu:a100:2"),)), JobSettings(gpus=1, cpus=2), Resources(cpus=2)),
        (JobSettings(slurm=(("gres", "ssd:1"),)), JobSettings(gpus=1), Resources(gpus=1)),
        (JobSettings(slurm=(("mem", False),)), JobSettings(memory=8), Resources(memory=8)),
        (JobSettings(htcondor=(("request_memory", "1"),)), JobSettings(memory=8), Resources(memory=8)),
    ],
)
def test_a_default_gives_way_to_a_jobs_own_words_for_the_scheduler(
    words: JobSettings, default: JobSettings, left: Resources
) -> None:
    cluster = Cluster(name="hpc", schedulers=("slurm",))
    project = replace(with_job(words, default), clusters={"hpc": cluster})
    assert resolve_job(project, "train", "hpc").resources == left
    job_and_option = replace(with_job(default), clusters={"hpc": cluster})
    assert resolve_job(job_and_option, "train", "hpc", words).resources == left


def test_a_default_stays_where_a_job_says_it_for_one_of_two_schedulers_alone() -> None:
    project = with_job(JobSettings(slurm=(("mem", "0"),)), JobSettings(memory=8))
    both = replace(project, clusters={"hpc": Cluster(name="hpc", schedulers=("slurm", "htcondor"))})
    assert refusal(both) == "job train on hpc: memory and slurm.mem request the same thing; expected only one of the two"


@pytest.mark.parametrize(
    ("scheduler", "job", "asking"),
    [
        ("slurm", JobSettings(gpus=0, slurm=(("gres", "ssd,gpu:1"), ("nice", "1"))), "slurm.gres"),
        ("slurm", JobSettings(gpus=0, slurm=(("ntasks-per-gpu", "1"),)), "slurm.ntasks-per-gpu"),
        ("htcondor", JobSettings(gpus=0, htcondor=(("Request_GPUs", "1"),)), "htcondor.Request_GPUs"),
    ],
)
def test_no_gpus_and_words_that_ask_for_some_are_refused(scheduler: str, job: JobSettings, asking: str) -> None:
    cluster = Cluster(name="hpc", schedulers=("slurm",) if scheduler == "slurm" else ("htcondor",))
    project = replace(with_job(job), clusters={"hpc": cluster})
    assert refusal(project).startswith(f"job train on hpc: gpus = 0 requests no GPU, but {asking} does; expected only one")
    free = replace(with_job(replace(job, gpus=None)), clusters={"hpc": cluster})
    assert resolve_job(free, "train", "hpc").resources.gpus is None
    other = replace(
        project, clusters={"hpc": replace(cluster, schedulers=("htcondor",) if scheduler == "slurm" else ("slurm",))}
    )
    assert resolve_job(other, "train", "hpc").resources.gpus == 0


def test_generic_resources_that_are_no_gpus_may_stand_beside_gpus() -> None:
    job = resolve_job(with_job(JobSettings(gpus=1, slurm=(("gres", "tmpfs:100G,ssd"),))), "train", "hpc")
    assert job.slurm == (("gres", "tmpfs:100G,ssd"),)
    job = resolve_job(with_job(JobSettings(gpus=1, slurm=(("tres-per-task", "cpu=4"),))), "train", "hpc")
    assert job.slurm == (("tres-per-task", "cpu=4"),)


def test_directives_of_a_scheduler_that_the_cluster_has_not_are_nobodys_business() -> None:
    job = resolve_job(with_job(JobSettings(cpus=1, htcondor=(("request_cpus", "2"),))), "train", "hpc")
    assert job.resources.cpus == 1


def test_a_directive_alone_may_ask_for_what_a_key_asks() -> None:
    job = resolve_job(with_job(JobSettings(slurm=(("gres", "gpu:a100:1,ssd:1"),))), "train", "hpc")
    assert job.slurm == (("gres", "gpu:a100:1,ssd:1"),)


def test_every_key_of_a_job_has_its_field() -> None:
    keys = {key.name.replace("-", "_") for key in JOB.keys}
    # A sweep is read as an array; a throttle alone is an option only.
    assert keys - {"sweep"} | {"throttle"} == {field.name for field in fields(JobSettings)}
