"""Jobs and clusters that the tests of the schedulers share."""

from dataclasses import replace

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.job import Array, Bind, Job, Resources
from hpcdeploy.parameters import Parameters
from hpcdeploy.run import Run
from hpcdeploy.staged_files import Delivery, StagedFile

SHA256 = "ab" * 32
DELIVERY = Delivery(
    sha256=SHA256,
    reference=f"oras://registry.example.org/team/train@sha256:{'cd' * 32}",
    size=3_500_000_000,
    plain_http=False,
)
STREAMED = Delivery(
    sha256=SHA256,
    size=3_500_000_000,
    upload=StagedFile(
        sha256=SHA256, size=3_500_000_000, path=f"images/{SHA256}.sif", what="the image train", source=DELIVERY.reference
    ),
)
AUTO = replace(DELIVERY, host="registry.example.org", upload=STREAMED.upload)
IN_JOB = replace(DELIVERY, host="registry.example.org", in_job=True)
CACHED = Delivery(sha256=SHA256)
BROUGHT = Delivery(
    sha256=SHA256,
    size=900,
    upload=StagedFile(
        sha256=SHA256, size=900, path=f"images/{SHA256}.sif", what="the image it's.sif", source="/home/me/it's.sif"
    ),
)
STAGED = StagedFile(
    sha256="12" * 32,
    size=1_200_000,
    path=f"code/{'12' * 32}.tar",
    what="the code of 'my project'",
    source="/home/me/code.tar",
)
PLAIN = Job(name="hello", image="train")
CLUSTER = Cluster(name="hpc", host="login.example.org", schedulers=("slurm", "htcondor"))
SITE = Cluster(
    name="site",
    root="/scratch/$USER/my project",
    schedulers=("slurm", "htcondor"),
    gpu_form="gpus-per-node",
    memory_form="mem-per-cpu",
    setup=("module load apptainer/1.4",),
    apptainer="singularity",
    binds=(Bind(source="/data/common", read_only=True),),
)
NASTY = (
    "python",
    "-c",
    "print('a b')",
    "$HOME",
    'say "hi"; rm -rf /',
    "two\nlines",
    "",
    "naïve ☃",
    "back\\slash",
    "%s {{ x }}",
    "-",
)
TRAIN = Job(
    name="train",
    image="train",
    command=NASTY,
    resources=Resources(
        gpus=2, gpu_type="a100", cpus=8, memory=32768, time=4 * 3600, partition="gpu", account="abc", qos="long"
    ),
    environment=(("GREETING", "it's $5\nnow"), ("EMPTY", "")),
    binds=(Bind(source="$SCRATCH/data set", destination="/data"),),
    array=Array(size=100, throttle=10),
    slurm=(("exclusive", True), ("constraint", 'a#b "c" \\d')),
)
CONDOR_TRAIN = Job(
    name="train",
    image="train",
    command=NASTY,
    resources=Resources(gpus=2, cpus=8, memory=32768, disk=10240, time=4 * 3600, account="abc"),
    environment=TRAIN.environment,
    array=Array(size=100, throttle=10),
    htcondor=(("+WantGPULab", "true"), ("gpus_minimum_capability", "8.0")),
)
CONDOR_SITE = Job(
    name="site",
    image="train",
    command=NASTY,
    resources=Resources(gpus=1, gpu_memory=40960, gpu_capability=("8.0", "")),
    binds=TRAIN.binds,
    workdir="$WORK/my data",
)


SWEPT = Job(
    name="sweep",
    image="train",
    command=("python", "train.py", "--lr={lr}", "{note} {{}}", "$HOME it's", ""),
    environment=(("NOTE", "<{note}>"), ("PLAIN", "a b")),
    array=Array(
        size=3,
        throttle=2,
        parameters=Parameters(names=("lr", "note"), rows=(("0.10", "it's $5\nnow"), ("1e-4", ""), ("-1", "naïve \\ ☃"))),
    ),
)


def run_of(job: Job, scheduler: SchedulerName = "slurm", *, job_id: str = "", run_id: str = "") -> Run:
    """Make the run of a job, with an id that never changes."""
    return Run(
        id=run_id or f"{job.name}-0123456789",
        job=job.name,
        cluster="hpc",
        scheduler=scheduler,
        image=job.image,
        sha256=SHA256,
        tasks=job.array.size if job.array else 1,
        command=job.command,
        submitted=1_790_000_000,
        job_id=job_id,
    )
