"""Finding and reading the settings files, and every message about what they may not say."""

import json
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.config.files import lab_file, load_project, read_sweep, token_services
from hpcdeploy.config.project import JobSettings, Project
from hpcdeploy.errors import ConfigError
from hpcdeploy.image import FileCopy, ImageSettings, Step
from hpcdeploy.job import Array, Bind, SweepFile
from hpcdeploy.source import PixiSource
from hpcdeploy_lab.access import CLUSTER_FILE, cluster_toml
from hpcdeploy_lab.process import Process
from hpcdeploy_lab.settings import Ports, default_settings
from hpcdeploy_lab.state import describe
from tests.special_files import SPECIAL

WHOLE = """
[image]
repository = ["ghcr.io/me/train", "localhost:5000/train"]
pixi = { workspace = "envs/gpu", environment = "gpu", cuda = "12.9" }
base = "ghcr.io/prefix-dev/pixi:noble"
final-base = "ubuntu:24.04"
files = { "app" = "/app/src", "my data" = "/data" }
setup = ["echo one", "echo two"]
test = ["python -c 'import torch'"]
command = ["python", "-m", "train"]
environment = { OMP_NUM_THREADS = "4" }
labels = { "org.opencontainers.image.licenses" = "MIT" }
build-args = { FLAVOUR = "large" }

[clusters.hpc]
host = "login.hpc.example.org"
schedulers = ["slurm", "htcondor"]
root = "$SCRATCH/hpcdeploy"
ssh-config = "ssh/config"
transport = "openssh"
gpu-form = "gpus-per-node"
gpu-vendor = "amd"
memory-form = "mem-per-cpu"
apptainer = "singularity"
setup = ["module load apptainer"]
binds = ["/data:/data:ro"]
mirrors = { "ghcr.io" = "localhost:5000" }

[clusters.hpc.defaults]
account = "abc"
partition = "gpu"
environment = { SITE = "here" }
slurm = { exclusive = true, signal = "B:USR1@60" }

[jobs.train]
image = "default"
command = ["python", "train.py", ""]
gpus = 1
gpu-type = "a100"
cpus = 8
memory = "32 GB"
time = "4 h"
nodes = 2
disk = "1 TB"
qos = "long"
constraint = "ib"
environment = { GREETING = "two\\nlines" }
binds = ["$HOME/data:/mnt", { source = "/odd:path", destination = "/odd", read-only = true }]
array = { size = 10, throttle = 2 }
workdir = "$SCRATCH/work"
slurm = { nice = 100, exclusive = false }
htcondor = { "+WantGPULab" = true, rank = "Memory" }
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {
        "HOME": str(tmp_path / "home"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def load(tmp_path: Path, environ: dict[str, str], text: str) -> Project:
    return load_project(write(tmp_path / "project" / "hpcdeploy.toml", text).parent, environ)


def message(tmp_path: Path, environ: dict[str, str], text: str) -> str:
    """Return what is said of the project file `text`, without the file's folder."""
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, environ, text)
    assert refused.value.exit_code == 2
    return str(refused.value).replace(f"{tmp_path}/project/", "")


def test_only_the_person_names_the_token_service_of_a_registry(tmp_path: Path, environ: dict[str, str]) -> None:
    text = '[registries."Registry.example.org:5050"]\ntoken-service = "Git.example.org"\n[clusters.own]\nhost = "local"\n'
    assert token_services(environ) == {}
    write(tmp_path / "config" / "hpcdeploy" / "config.toml", text)
    assert token_services(environ) == {"registry.example.org:5050": "git.example.org"}
    assert "own" in load(tmp_path, environ, "").clusters
    assert "registries: unknown key" in message(tmp_path, environ, text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[registries."https://x.org"]\ntoken-service = "y.org"\n', "expected HOST or HOST:PORT"),
        ('[registries."x.org"]\ntoken-service = "https://y.org/token"\n', "expected HOST or HOST:PORT"),
        ('[registries."x.org"]\n', "the key token-service is missing"),
    ],
)
def test_a_token_service_is_a_host(text: str, expected: str, tmp_path: Path, environ: dict[str, str]) -> None:
    write(tmp_path / "config" / "hpcdeploy" / "config.toml", text)
    with pytest.raises(ConfigError, match=expected):
        token_services(environ)


def test_every_key_arrives_as_a_plain_value(tmp_path: Path, environ: dict[str, str]) -> None:
    project = load(tmp_path, environ, WHOLE)
    assert project.root == tmp_path / "project"
    assert project.images == {
        "default": ImageSettings(
            name="default",
            source=PixiSource(workspace="envs/gpu", environment="gpu", cuda="12.9"),
            repositories=("ghcr.io/me/train", "localhost:5000/train"),
            base="ghcr.io/prefix-dev/pixi:noble",
            final_base="ubuntu:24.04",
            files=(FileCopy(source="app", destination="/app/src"), FileCopy(source="my data", destination="/data")),
            setup=(Step(run="echo one"), Step(run="echo two")),
            test=("python -c 'import torch'",),
            command=("python", "-m", "train"),
            environment=(("OMP_NUM_THREADS", "4"),),
            labels=(("org.opencontainers.image.licenses", "MIT"),),
            build_args=(("FLAVOUR", "large"),),
        )
    }
    assert project.clusters == {
        "hpc": Cluster(
            project=str(tmp_path / "project"),
            of_project=True,
            name="hpc",
            host="login.hpc.example.org",
            schedulers=("slurm", "htcondor"),
            root="$SCRATCH/hpcdeploy",
            ssh_config=str(tmp_path / "project" / "ssh" / "config"),
            transport="openssh",
            gpu_form="gpus-per-node",
            gpu_vendor="amd",
            memory_form="mem-per-cpu",
            apptainer="singularity",
            setup=("module load apptainer",),
            binds=(Bind(source="/data", destination="/data", read_only=True),),
            mirrors=(("ghcr.io", "localhost:5000"),),
        )
    }
    assert project.defaults["hpc"] == JobSettings(
        account="abc",
        partition="gpu",
        environment=(("SITE", "here"),),
        slurm=(("exclusive", True), ("signal", "B:USR1@60")),
    )
    assert project.jobs == {
        "train": JobSettings(
            image="default",
            command=("python", "train.py", ""),
            gpus=1,
            gpu_type="a100",
            cpus=8,
            memory=32 * 1024,
            time=4 * 3600,
            nodes=2,
            disk=1024 * 1024,
            qos="long",
            constraint="ib",
            environment=(("GREETING", "two\nlines"),),
            binds=(
                Bind(source="$HOME/data", destination="/mnt"),
                Bind(source="/odd:path", destination="/odd", read_only=True),
            ),
            array=Array(size=10, throttle=2),
            workdir="$SCRATCH/work",
            slurm=(("nice", "100"), ("exclusive", False)),
            htcondor=(("+WantGPULab", "true"), ("rank", "Memory")),
        )
    }


def test_an_empty_table_means_the_defaults(tmp_path: Path, environ: dict[str, str]) -> None:
    project = load(tmp_path, environ, "[images.a]\n[clusters.b]\n[jobs.c]\n")
    assert project.images["a"] == ImageSettings(name="a", source=PixiSource())
    assert project.clusters["b"] == Cluster(name="b", project=str(tmp_path / "project"), of_project=True)
    assert project.jobs["c"] == JobSettings()


@pytest.mark.parametrize("name", ["pixi.toml", "pyproject.toml"])
def test_settings_may_live_in_another_tools_file(tmp_path: Path, environ: dict[str, str], name: str) -> None:
    write(tmp_path / name, "[tool.hpcdeploy.jobs.train]\ngpus = 1\n")
    assert load_project(tmp_path, environ).jobs["train"].gpus == 1


def test_the_file_is_looked_for_upward_past_other_tools_files(tmp_path: Path, environ: dict[str, str]) -> None:
    deep = tmp_path / "a" / "b" / "c"
    write(deep / "pixi.toml", "[workspace]\nname = 'x'\n")
    write(tmp_path / "a" / "pyproject.toml", "this is not TOML, and nobody asked")
    file = write(tmp_path / "hpcdeploy.toml", "[jobs.x]\n")
    project = load_project(deep, environ)
    assert (project.root, project.file) == (tmp_path, file)


def test_without_a_file_the_message_says_how_to_get_one(tmp_path: Path, environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as refused:
        load_project(tmp_path, environ)
    assert str(refused.value) == (
        f"no hpcdeploy.toml in {tmp_path} or above it, and no [tool.hpcdeploy] in a pixi.toml or pyproject.toml there;"
        " create one with 'hpcdeploy init'"
    )


def test_two_files_with_settings_in_one_folder_are_refused(tmp_path: Path, environ: dict[str, str]) -> None:
    write(tmp_path / "hpcdeploy.toml", "")
    write(tmp_path / "pixi.toml", "[tool.hpcdeploy]\n")
    with pytest.raises(ConfigError) as refused:
        load_project(tmp_path, environ)
    assert str(refused.value) == (
        f"settings of hpcdeploy are in {tmp_path}/hpcdeploy.toml and in {tmp_path}/pixi.toml;"
        f" expected one file: remove the settings from the others"
    )


def test_the_person_goes_before_the_lab_and_of_both_a_project_sets_defaults_only(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    lab = write(
        tmp_path / "state" / "hpcdeploy" / "lab" / "cluster.toml",
        '[clusters.lab]\nhost = "lab"\nssh-config = "/x"\nschedulers = ["slurm", "htcondor"]\nroot = "/lab"\n'
        '[clusters.lab.mirrors]\n"ghcr.io" = "localhost:5000"\n',
    )
    person = write(
        tmp_path / "config" / "hpcdeploy" / "config.toml",
        '[clusters.lab]\nroot = "/person"\ngpu-form = "gpus"\n[clusters.lab.defaults]\ncpus = 1\ngpus = 1\n[clusters.own]\n',
    )
    # What a project says just as the person does changes nothing.
    project = load(tmp_path, environ, '[clusters.lab]\nroot = "/person"\nhost = "lab"\ndefaults.gpus = 2')
    assert project.clusters["lab"] == Cluster(
        name="lab",
        host="lab",
        ssh_config="/x",
        schedulers=("slurm", "htcondor"),
        root="/person",
        gpu_form="gpus",
        mirrors=(("ghcr.io", "localhost:5000"),),
        project=str(tmp_path / "project"),
    )
    assert project.defaults["lab"] == JobSettings(cpus=1, gpus=2)
    assert set(project.clusters) == {"lab", "own"}
    assert project.origins["clusters.lab"] == str(person)
    assert project.origins["clusters.lab.host"] == str(lab)
    assert project.origins["clusters.lab.root"] == str(person)
    assert project.origins["clusters.lab.defaults.gpus"] == str(project.file)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('host = "local"', "host"),
        ('host = "other.example.org"', "host"),
        ('setup = ["true"]', "setup"),
        ('ssh-config = "ssh"', "ssh-config"),
        ('apptainer = "./a"', "apptainer"),
        ('scheduler = "htcondor"', "scheduler"),
        ('schedulers = ["slurm", "htcondor"]', "schedulers"),
        ('root = "/other"', "root"),
        ('mirrors = { "docker.io" = "localhost:1" }', "mirrors"),
        ('image-cache = "/other"', "image-cache"),
    ],
)
def test_a_project_changes_nothing_else_of_a_persons_cluster(
    tmp_path: Path, environ: dict[str, str], text: str, key: str
) -> None:
    person = write(tmp_path / "config" / "hpcdeploy" / "config.toml", '[clusters.hpc]\nhost = "hpc"\nroot = "/mine"\n')
    assert message(tmp_path, environ, f"[clusters.hpc]\n{text}\n[clusters.new]\n{text}") == (
        f"hpcdeploy.toml: clusters.hpc.{key}: the cluster hpc is described in {person}, so a project"
        " may only set the cluster's defaults; remove this key here, or use another name for one of the two clusters"
    )


def test_defaults_of_a_persons_for_a_projects_cluster_leave_it_the_projects(tmp_path: Path, environ: dict[str, str]) -> None:
    write(tmp_path / "config" / "hpcdeploy" / "config.toml", '[clusters.hpc.defaults]\naccount = "mine"\ncpus = 1\n')
    project = load(tmp_path, environ, '[clusters.hpc]\nhost = "hpc"\ndefaults.cpus = 2')
    assert (project.clusters["hpc"].host, project.clusters["hpc"].of_project) == ("hpc", True)
    assert project.defaults["hpc"] == JobSettings(account="mine", cpus=2)


@pytest.mark.parametrize("sign", list("'`\"$\\;&<>|(){},"))
def test_a_host_holds_nothing_that_a_shell_reads(tmp_path: Path, environ: dict[str, str], sign: str) -> None:
    assert "expected a host name" in message(tmp_path, environ, f"clusters.hpc.host = {json.dumps(f'a{sign}b')}")


def test_the_labs_own_file_is_read(tmp_path: Path, environ: dict[str, str]) -> None:
    process = Process(pid=1, started=1)
    settings = default_settings(environ)
    lab = describe(
        settings, Ports(ssh=1, registry=5000, condor=3, slurmctld=4, slurmdbd=5, slurmd=(6,)), tmp_path, process, process
    )
    file = write(settings.state / CLUSTER_FILE, cluster_toml(lab))
    assert file == lab_file(environ)
    assert load_project(tmp_path, environ, optional=True).clusters["lab"] == Cluster(
        name="lab",
        host=lab.host,
        ssh_config=str(lab.ssh_config),
        schedulers=("slurm", "htcondor"),
        root="$SCRATCH/hpcdeploy",
        poll_interval=1,
        mirrors=(("ghcr.io", "localhost:5000"), ("docker.io/library", "localhost:5000/library")),
        project=str(tmp_path),
    )


def test_a_folder_that_cannot_be_asked_holds_nothing(tmp_path: Path, environ: dict[str, str]) -> None:
    too_long = str(tmp_path / ("x" * 300))
    assert load_project(tmp_path, {**environ, "XDG_CONFIG_HOME": too_long}, optional=True).clusters == {}


def test_clusters_alone_serve_without_a_project(tmp_path: Path, environ: dict[str, str]) -> None:
    write(tmp_path / "config" / "hpcdeploy" / "config.toml", "[clusters.own]\n")
    project = load_project(tmp_path, environ, optional=True)
    assert (set(project.clusters), project.file, project.jobs) == ({"own"}, None, {})


def test_a_persons_file_holds_clusters_and_what_no_project_decides(tmp_path: Path, environ: dict[str, str]) -> None:
    write(tmp_path / "config" / "hpcdeploy" / "config.toml", "[jobs.x]\n")
    with pytest.raises(ConfigError) as refused:
        load_project(tmp_path, environ, optional=True)
    said = "jobs: unknown key; Known here: clusters, registries, safe-directories"
    assert str(refused.value) == f"{tmp_path}/config/hpcdeploy/config.toml: {said}"


@pytest.mark.parametrize(
    ("given", "path"), [("~/ssh/config", "home/ssh/config"), ("lab.conf", "project/lab.conf"), ("/etc/x", "/etc/x")]
)
def test_an_ssh_configuration_lies_at_home_or_beside_its_file(
    tmp_path: Path, environ: dict[str, str], given: str, path: str
) -> None:
    project = load(tmp_path, environ, f'[clusters.hpc]\nssh-config = "{given}"')
    assert project.clusters["hpc"].ssh_config == str(tmp_path / path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jobs.train.gpus = 'two'", 'jobs.train.gpus: found "two"; expected a whole number from 0 to 1000000000'),
        ("jobs.train.gpus = true", "jobs.train.gpus: found true; expected a whole number from 0 to 1000000000"),
        ("jobs.train.nodes = 0", "jobs.train.nodes: found 0; expected a whole number from 1 to 1000000000"),
        (
            "clusters.hpc.ssh_config = 'x'",
            (
                "clusters.hpc.ssh_config: unknown key; did you mean ssh-config? Known here: host, scheduler, schedulers,"
                " root, ssh-config, transport, gpu-form, gpu-vendor, memory-form, htcondor-container, apptainer, setup,"
                " poll-interval, binds, image-route, image-cache, image-cache-owners, image-cache-size, tmp, mirrors,"
                " platform, defaults"
            ),
        ),
        (
            "image.pixi.enviroment = 'x'",
            "image.pixi.enviroment: unknown key; did you mean environment? Known here: workspace, environment, cuda",
        ),
        ("zzz = 1", "zzz: unknown key; Known here: image, images, clusters, jobs"),
        ("jobs = 3", "jobs: found 3; expected a table of jobs: [jobs.NAME]"),
        ("[[jobs]]", "jobs: found a list; expected a table of jobs: [jobs.NAME]"),
        (
            "clusters.hpc.scheduler = 'slrum'",
            'clusters.hpc.scheduler: found "slrum"; expected "slurm" or "htcondor"; did you mean "slurm"?',
        ),
        (
            "clusters.hpc.gpu-form = 'gpu'",
            'clusters.hpc.gpu-form: found "gpu"; expected "gres" or "gpus-per-node" or "gpus"; did you mean "gpus"?',
        ),
        (
            "clusters.hpc.gpu-vendor = 'AMD'",
            'clusters.hpc.gpu-vendor: found "AMD"; expected "auto" or "nvidia" or "amd"; did you mean "amd"?',
        ),
        (
            "clusters.hpc = { scheduler = 'slurm', schedulers = ['slurm'] }",
            (
                "clusters.hpc: both scheduler and schedulers are set; expected one, such as schedulers ="
                ' ["slurm", "htcondor"]'
            ),
        ),
        (
            "clusters.hpc.schedulers = []",
            'clusters.hpc.schedulers: found an empty list; expected a list such as ["slurm", "htcondor"]',
        ),
        (
            "clusters.hpc.schedulers = ['slurm', 'slurm']",
            "clusters.hpc: schedulers has duplicates; expected each scheduler once, with the default scheduler first",
        ),
        (
            "clusters.hpc.root = '~other/x'",
            (
                'clusters.hpc.root: found "~other/x"; expected an absolute path on the cluster, or one that'
                " starts with ~/ or $VAR"
            ),
        ),
        (
            "[image]\n[images.a]",
            "hpcdeploy.toml: both [image] and [images.NAME] are set; expected one: use [images.NAME] for all",
        ),
        (
            "jobs.train.command = 'python train.py'",
            (
                'jobs.train.command: found "python train.py"; expected a list of words'
                ': use ["python", "train.py"], because no shell splits the text'
            ),
        ),
        ("jobs.train.command = ['python', 3]", 'jobs.train.command[1]: found 3; expected a string: write "3"'),
        (
            "jobs.train.command = ['', 'x']",
            'jobs.train.command: found "" as the first argument; expected the name of a program',
        ),
        (
            'jobs.train.command = ["a\\u0000b"]',
            (
                r'jobs.train.command[0]: found "a\u0000b"; expected a string without NUL characters, which'
                r" cannot be passed to a program"
            ),
        ),
        (
            "jobs.train.memory = 32",
            (
                'jobs.train.memory: found 32; expected an amount with its unit, such as "32 GB" or "500 MB"'
                ': the unit is missing, use "32 GB" or "32 MB"'
            ),
        ),
        (
            "jobs.train.time = 90",
            (
                'jobs.train.time: found 90; expected a time with its unit, such as "4 h", "90 min" or "1 d 12 h",'
                ' or days-hours:minutes:seconds as in "2-12:00:00"'
                ': the unit is missing (minutes for Slurm, seconds for HTCondor), use "90 min" or "90 h"'
            ),
        ),
        ("jobs.train.time = 07:32:00", "07:32:00"),
        (
            "jobs.'my job'.gpus = 1",
            'jobs."my job": found "my job"; expected a name of 1 to 64 letters, digits, dots, dashes and underscores',
        ),
        (
            "images.'a.sif' = {}",
            'images."a.sif": found "a.sif"; expected a name that does not end in .sif, because .sif means a file',
        ),
        ('jobs.train.account = "a\\nb"', r'jobs.train.account: found "a\nb"; expected one line without control characters'),
        (
            "jobs.train.environment.HPCDEPLOY_RUN = 'x'",
            (
                'jobs.train.environment.HPCDEPLOY_RUN: found "HPCDEPLOY_RUN"; expected another name, because'
                " hpcdeploy and Apptainer use variables whose names start like this one"
            ),
        ),
        ("jobs.train.environment.N = 4", 'jobs.train.environment.N: found 4; expected a string: write "4"'),
        ("jobs.train.slurm.chdir = '/x'", "jobs.train.slurm.chdir: must not be set: use the key workdir"),
        ("jobs.train.htcondor.queue = 3", "jobs.train.htcondor.queue: must not be set: use the key array"),
        (
            'jobs.train.htcondor."+Requirements" = "true"',
            (
                'jobs.train.htcondor."+Requirements": must not be set: use the submit command requirements; '
                "the attribute would replace the value that HTCondor derives from submit commands"
            ),
        ),
        (
            'jobs.train.htcondor."My.SingularityImage" = "x"',
            (
                'jobs.train.htcondor."My.SingularityImage": must not be set: hpcdeploy writes it itself; '
                "the attribute would replace the value that HTCondor derives from submit commands"
            ),
        ),
        (
            "jobs.train.binds = '/data'",
            'jobs.train.binds: found "/data"; expected a list, each item a path on the cluster, as',
        ),
        ("jobs.train.binds = [{ destination = '/x' }]", "jobs.train.binds[0]: the key source is missing"),
        (
            "jobs.train.array = 1.5",
            'jobs.train.array: found 1.5; expected a number of tasks, or "0-99%10" for tasks 0 to 99, ten at once',
        ),
        (
            "image.pixi.cuda = 12.9",
            'image.pixi.cuda: found 12.9; expected a version in quotes, such as "12.9", or "" for none: write "12.9"',
        ),
        (
            "image.repository = 'oras://ghcr.io/me/x:1'",
            (
                'image.repository: found "oras://ghcr.io/me/x:1"; expected HOST/PATH in lower case without'
                " scheme, tag or digest,"
                ' such as "ghcr.io/me/train"'
            ),
        ),
        ("image.tags = ['latest', '-x']", 'image.tags[1]: found "-x"; expected a tag'),
        ("image.repository = ['me/x']", 'image.repository[0]: found "me/x"; expected HOST/PATH'),
        (
            "image.base = 'docker://ubuntu'",
            (
                'image.base: found "docker://ubuntu"; expected an image reference without scheme, such as'
                ' "ghcr.io/prefix-dev/pixi:noble"'
            ),
        ),
        ("image.files.app = 'src'", 'image.files.app: found "src"; expected an absolute path in the image, such as "/app"'),
        ("image.files.'/etc' = '/x'", 'image.files."/etc": found "/etc"; expected a path relative to the project\'s folder'),
        (
            '[image]\nspack = { target = "native" }',
            "image.spack.target: it has the microarchitecture 'native', which means",
        ),
        (
            '[image]\nspack = { target = "a64fx" }',
            "image: spack.target has the microarchitecture 'a64fx', but the image is built for linux/amd64",
        ),
    ],
)
def test_what_a_file_may_not_say_is_one_message(tmp_path: Path, environ: dict[str, str], text: str, said: str) -> None:
    whole = message(tmp_path, environ, text)
    assert whole.startswith("hpcdeploy.toml: ")
    assert said in whole
    assert "\n" not in whole


def test_several_problems_are_listed_together_in_the_files_order(tmp_path: Path, environ: dict[str, str]) -> None:
    assert message(tmp_path, environ, "[jobs.a]\ngpus = -1\ntiem = 3\n[clusters.b]\nhost = ''") == (
        "hpcdeploy.toml: 3 problems\n"
        "  jobs.a.gpus: found -1; expected a whole number from 0 to 1000000000\n"
        "  jobs.a.tiem: unknown key; did you mean time? Known here: image, command, environment, binds, workdir, code,"
        " inputs, outputs, nodes, gpus, gpu-type, gpu-memory, gpu-capability, gpu-runtime, cpus, memory, time,"
        " disk, partition, account, qos, constraint, array, sweep, after,"
        " signal, requeue, retries, tasks-per-node, launcher, mpi, slurm, srun, htcondor\n"
        '  clusters.b.host: found ""; expected text that is not blank; or omit the key'
    )


def test_a_key_path_in_another_tools_file_is_the_whole_one(tmp_path: Path, environ: dict[str, str]) -> None:
    file = write(tmp_path / "pyproject.toml", "[tool.hpcdeploy.jobs.train]\ngpus = 'x'\n")
    with pytest.raises(ConfigError) as refused:
        load_project(tmp_path, environ)
    assert str(refused.value) == (
        f'{file}: tool.hpcdeploy.jobs.train.gpus: found "x"; expected a whole number from 0 to 1000000000'
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[jobs.train]\ngpus = = 1\n", "hpcdeploy.toml, line 2, column 8: not valid TOML: Invalid value"),
        (b"a = 1\na = 2\n", "hpcdeploy.toml, line 2, column 6: not valid TOML: Cannot overwrite a value"),
        (b"a = [1,\n2", "hpcdeploy.toml, line 2, column 2: not valid TOML: Unclosed array"),
        (b"a = 1\nb = '\xff'\n", "hpcdeploy.toml, line 2, column 6: not UTF-8; save the file as UTF-8"),
    ],
)
def test_what_is_not_toml_is_said_with_line_and_column(
    tmp_path: Path, environ: dict[str, str], content: bytes, said: str
) -> None:
    (tmp_path / "hpcdeploy.toml").write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        load_project(tmp_path, environ)
    assert str(refused.value) == f"{tmp_path}/{said}"


def test_pythons_own_limits_are_no_traceback(tmp_path: Path, environ: dict[str, str]) -> None:
    assert message(tmp_path, environ, "a = " + "9" * 5000).startswith("hpcdeploy.toml: not usable TOML: ")
    assert message(tmp_path, environ, "a = " + "[" * 50000).startswith("hpcdeploy.toml: not usable TOML: ")


def test_a_folder_in_the_files_place_is_one_message(tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / "hpcdeploy.toml").mkdir()
    with pytest.raises(ConfigError) as refused:
        load_project(tmp_path, environ)
    assert str(refused.value) == f"{tmp_path}/hpcdeploy.toml: cannot be read: Is a directory; expected a settings file"


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("special", SPECIAL)
@pytest.mark.parametrize("name", ["hpcdeploy.toml", "pixi.toml", "pyproject.toml"])
def test_settings_that_are_no_file_are_refused_and_not_waited_for(
    tmp_path: Path, environ: dict[str, str], name: str, special: str
) -> None:
    (tmp_path / "project").mkdir()
    reason = f": cannot be read: it is {special}; expected a regular file"
    if special == "a device" and name == "hpcdeploy.toml":  # /dev/null: who may write a file is checked first
        reason = " may be written by everybody"
    with SPECIAL[special](tmp_path / "project" / name), pytest.raises(ConfigError, match=f"project/{name}{reason}"):
        load_project(tmp_path / "project", environ)


@pytest.mark.parametrize("name", ["hpcdeploy.toml", "pixi.toml", "pyproject.toml"])
def test_settings_of_absurd_size_are_refused(
    tmp_path: Path, environ: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpcdeploy.config.files.LARGEST_TEXT", 100)
    file = write(tmp_path / name, "[tool.hpcdeploy]\n" if name != "hpcdeploy.toml" else "")
    assert load_project(tmp_path, environ).file == file
    with file.open("a") as writing:
        writing.write("#" * 101)
    with pytest.raises(ConfigError, match=rf"{name}: cannot be read: it has \d+ bytes, above the limit of 100 "):
        load_project(tmp_path, environ)


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("special", SPECIAL)
def test_the_parameters_of_a_sweep_are_a_file_and_of_no_absurd_size(
    tmp_path: Path, special: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "a.csv, which is /dev/null" if special == "a device" else f"a.csv: cannot be read: it is {special}"
    with SPECIAL[special](tmp_path / "a.csv"), pytest.raises(ConfigError, match=reason):
        read_sweep(SweepFile(path="a.csv"), tmp_path)
    write(tmp_path / "b.csv", "x\n1\n")
    monkeypatch.setattr("hpcdeploy.config.files.LARGEST_TABLE", 4)
    assert read_sweep(SweepFile(path="b.csv"), tmp_path).size == 1
    monkeypatch.setattr("hpcdeploy.config.files.LARGEST_TABLE", 3)
    with pytest.raises(ConfigError, match=r"b\.csv: cannot be read: it has 4 bytes, above the limit"):
        read_sweep(SweepFile(path="b.csv"), tmp_path)


@pytest.mark.parametrize("name", ["hpcdeploy.toml", "pixi.toml"])
def test_settings_that_are_a_link_out_of_the_project_are_refused_and_not_quoted(
    tmp_path: Path, environ: dict[str, str], name: str
) -> None:
    outside = write(tmp_path / "outside" / "credentials.toml", '[tool.hpcdeploy]\ntoken = "PRIVATE"\n[registry]\n')
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / name).symlink_to(outside)
    with pytest.raises(ConfigError, match=rf"settings \S+{name}, which is {outside}, outside of the project") as told:
        load_project(tmp_path / "project", environ)
    assert "PRIVATE" not in str(told.value)
    assert "registry" not in str(told.value)


@pytest.mark.parametrize("name", ["hpcdeploy.toml", "pixi.toml", "pyproject.toml"])
def test_what_is_wrong_with_a_file_outside_is_not_told(tmp_path: Path, environ: dict[str, str], name: str) -> None:
    outside = write(tmp_path / "outside" / "key", "tool.hpcdeploy\nPRIVATE")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / name).symlink_to(outside)
    if name == "hpcdeploy.toml":
        with pytest.raises(ConfigError, match=rf"settings \S+{name}, which is {outside}, outside of the project"):
            load_project(tmp_path / "project", environ)
    else:  # it holds no settings, as far as anybody can tell
        assert load_project(tmp_path / "project", environ, optional=True).file is None


def test_the_parameters_of_a_sweep_are_no_link_to_any_file(tmp_path: Path) -> None:
    project = tmp_path / "project"
    write(tmp_path / "outside/key", "PRIVATE KEY,\n")
    write(tmp_path / "outside/there.csv", "x\n1\n")
    write(project / "cache/ab12", "x\n1\n2\n")
    (project / "a.csv").symlink_to(tmp_path / "outside/key")
    for path in ("a.csv", str(project / "a.csv")):
        with pytest.raises(ConfigError, match=rf"a\.csv, which is {tmp_path}/outside/key, outside of the project") as told:
            read_sweep(SweepFile(path=path), project)
        assert "PRIVATE" not in str(told.value)
    for target, tasks in ((tmp_path / "outside/there.csv", 1), (project / "cache/ab12", 2)):
        (project / "a.csv").unlink()
        (project / "a.csv").symlink_to(target)
        assert read_sweep(SweepFile(path="a.csv"), project).size == tasks
