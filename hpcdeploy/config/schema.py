"""Every key of the settings files, as data: what each may hold. ``docs/configuration.md`` says what each is for."""

import re
from typing import Any, get_args

from hpcdeploy.cluster import GpuForm, HtcondorContainer, ImageRoute, MemoryForm, SchedulerName, TransportName
from hpcdeploy.config.bringing import CODE, INPUTS, OUTPUTS
from hpcdeploy.config.directives import htcondor_key, htcondor_value, slurm_key, slurm_value
from hpcdeploy.config.found import found
from hpcdeploy.config.image_schema import COMMAND, ENVIRONMENT, IMAGE, LINE, SHELL_LINES
from hpcdeploy.config.reading import Either, Key, Kind, Leaf, ListOf, MapOf, Table
from hpcdeploy.config.shapes import (
    AFTER,
    RETRIES,
    exit_code,
    mpi_plugin,
    parse_after,
    parse_retries,
    parse_signal,
    retries,
)
from hpcdeploy.config.srun import srun_key
from hpcdeploy.config.sweeps import parameter_name, sweep, sweep_file
from hpcdeploy.config.sweeps import value as parameter_value
from hpcdeploy.config.words import (
    ARRAY,
    BIND,
    array,
    bind,
    capability,
    choice,
    cluster_path,
    gpu_count,
    image_path,
    label,
    line,
    memory,
    name,
    node_memory,
    parse_array,
    parse_bind,
    time,
    time_limit,
    true_or_false,
    user_name,
    version,
    whole,
)
from hpcdeploy.errors import ConfigError
from hpcdeploy.gpus import GpuVendorChoice
from hpcdeploy.job import Launcher
from hpcdeploy.ownership import KEY as SAFE_DIRECTORIES

_NOT_IN_A_HOST = frozenset("'`\"$\\;&<>|(){},")
"""What OpenSSH takes in no host's name since 9.6 (ssh.c, valid_hostname): the name may stand for %h in a command of the SSH
configuration, which a shell reads."""


def _host(value: object) -> str:
    words = line(value)
    if words.startswith("-") or any(character.isspace() or character in _NOT_IN_A_HOST for character in words):
        raise ConfigError(f'found {found(value)}; expected a host name, a Host of your SSH configuration, or "local"')
    return words


_HOST = r"[A-Za-z0-9.-]+(:[0-9]{1,5})?"


def _registry_host(value: object) -> str:
    words = line(value)
    if not re.fullmatch(_HOST, words):
        raise ConfigError(f'found {found(value)}; expected HOST or HOST:PORT, such as "registry.example.org"')
    return words.lower()


def _mirror(value: object) -> str:
    words = line(value)
    if not re.fullmatch(rf"{_HOST}(/[a-z0-9._/-]+)?", words):
        raise ConfigError(f'found {found(value)}; expected a registry as HOST or HOST:PORT, such as "ghcr.io"')
    return words


def _safe_directory(value: object) -> str:
    words = line(value)
    if words != "*" and not words.startswith(("/", "~/")):
        raise ConfigError(
            f'found {found(value)}; expected a folder of this machine from / or ~/, with "/*" for all below it, or "*"'
        )
    return words


def _one_of_image_tables(values: dict[str, Any]) -> object:
    if "image" in values and "images" in values:
        raise ConfigError("both [image] and [images.NAME] are there; expected one: name the image in [images.NAME] too")
    return values


def _array_or_sweep(values: dict[str, Any]) -> object:
    if "array" in values and "sweep" in values:
        raise ConfigError("both array and sweep are there; expected one: a sweep is an array with a task for each value")
    if "sweep" in values:
        values["array"] = values.pop("sweep")
    return values


def _one_of_scheduler_keys(values: dict[str, Any]) -> object:
    if "scheduler" in values and "schedulers" in values:
        raise ConfigError(
            'both scheduler and schedulers are there; expected one, such as schedulers = ["slurm", "htcondor"]'
        )
    if "scheduler" in values:
        values["schedulers"] = (values.pop("scheduler"),)
    if len(set(values.get("schedulers", ()))) < len(values.get("schedulers", ())):
        raise ConfigError("found a scheduler twice in schedulers; expected each once, the default first")
    return values


def _image_name(value: str) -> str:
    if name(value).endswith(".sif"):
        raise ConfigError(f"found {found(value)}; expected a name that does not end in .sif, as a file does")
    return value


SCHEDULER = Leaf(choice(get_args(SchedulerName)))

BIND_TABLE = Table(
    (
        Key(name="source", kind=Leaf(cluster_path), required=True),
        Key(name="destination", kind=Leaf(image_path)),
        Key(name="read-only", kind=Leaf(true_or_false)),
    ),
    lambda values: bind(values["source"], values.get("destination", ""), read_only=values.get("read-only", False)),
)
BINDS = ListOf(Either({str: Leaf(parse_bind), dict: BIND_TABLE}, BIND), f"a list, each item {BIND}")
ARRAY_TABLE = Table(
    (Key(name="size", kind=Leaf(whole(1)), required=True), Key(name="throttle", kind=Leaf(whole(0)))),
    lambda values: array(values["size"], values.get("throttle", 0)),
)
AFTER_LIST = ListOf(Leaf(parse_after), f"a list, each item {AFTER}")
AFTER_KIND: Kind = Either({str: Leaf(lambda words: (parse_after(words),)), list: AFTER_LIST}, f"{AFTER}, or a list")
SWEEP = Table(
    (
        Key(
            name="grid",
            kind=MapOf(
                parameter_name,
                ListOf(Leaf(parameter_value), "a list of values", least=1),
                "a table of lists, such as { lr = [0.1, 0.01], seed = [1, 2, 3] }",
            ),
        ),
        Key(
            name="list",
            kind=ListOf(
                MapOf(parameter_name, Leaf(parameter_value), "a table of values, such as { lr = 0.1 }"),
                "a list of tables, such as [{ lr = 0.1 }, { lr = 0.01 }]",
                least=1,
            ),
        ),
        Key(name="file", kind=Leaf(sweep_file)),
        Key(name="throttle", kind=Leaf(whole(0))),
    ),
    sweep,
)
RETRIES_TABLE = Table(
    (
        Key(name="max", kind=Leaf(whole(1)), required=True),
        Key(name="exit-codes", kind=ListOf(Leaf(exit_code), "a list of exit codes, such as [75]", least=1)),
    ),
    lambda values: retries(values["max"], values.get("exit-codes", ())),
)
RETRIES_KIND: Kind = Either({int: Leaf(retries), str: Leaf(parse_retries), dict: RETRIES_TABLE}, RETRIES)
ARRAY_KIND: Kind = Either({int: Leaf(array), str: Leaf(parse_array), dict: ARRAY_TABLE}, ARRAY)


RESOURCES = (
    Key(name="nodes", kind=Leaf(whole(1))),
    Key(name="gpus", kind=Leaf(gpu_count)),
    Key(name="gpu-type", kind=Leaf(label)),
    Key(name="gpu-memory", kind=Leaf(memory)),
    Key(name="gpu-capability", kind=Leaf(capability)),
    Key(name="gpu-runtime", kind=Leaf(version)),
    Key(name="cpus", kind=Leaf(whole(1))),
    Key(name="memory", kind=Leaf(node_memory)),
    Key(name="time", kind=Leaf(time_limit)),
    Key(name="disk", kind=Leaf(memory)),
    Key(name="partition", kind=LINE),
    Key(name="account", kind=LINE),
    Key(name="qos", kind=LINE),
    Key(name="constraint", kind=LINE),
)

WITH_RESOURCES = (
    *RESOURCES,
    Key(name="environment", kind=ENVIRONMENT),
    Key(name="binds", kind=BINDS),
    Key(name="slurm", kind=MapOf(slurm_key, Leaf(slurm_value), "a table of options of sbatch")),
    Key(name="srun", kind=MapOf(srun_key, Leaf(slurm_value), "a table of options of srun")),
    Key(name="htcondor", kind=MapOf(htcondor_key, Leaf(htcondor_value), "a table of submit commands")),
)

JOB = Table(
    (
        Key(name="image", kind=LINE),
        Key(name="command", kind=COMMAND),
        *WITH_RESOURCES,
        Key(name="array", kind=ARRAY_KIND),
        Key(name="sweep", kind=SWEEP),
        Key(name="after", kind=AFTER_KIND),
        Key(name="signal", kind=Leaf(parse_signal)),
        Key(name="requeue", kind=Leaf(true_or_false)),
        Key(name="retries", kind=RETRIES_KIND),
        Key(name="tasks-per-node", kind=Leaf(whole(1))),
        Key(name="launcher", kind=Leaf(choice(get_args(Launcher)))),
        Key(name="mpi", kind=Leaf(mpi_plugin)),
        Key(name="workdir", kind=Leaf(cluster_path)),
        Key(name="code", kind=CODE),
        Key(name="inputs", kind=INPUTS),
        Key(name="outputs", kind=OUTPUTS),
    ),
    _array_or_sweep,
)

CLUSTER = Table(
    (
        Key(name="host", kind=Leaf(_host)),
        Key(name="scheduler", kind=SCHEDULER),
        Key(name="schedulers", kind=ListOf(SCHEDULER, 'a list such as ["slurm", "htcondor"]', least=1)),
        Key(name="root", kind=Leaf(cluster_path)),
        Key(name="ssh-config", kind=LINE),
        Key(name="transport", kind=Leaf(choice(get_args(TransportName)))),
        Key(name="gpu-form", kind=Leaf(choice(get_args(GpuForm)))),
        Key(name="gpu-vendor", kind=Leaf(choice(get_args(GpuVendorChoice)))),
        Key(name="memory-form", kind=Leaf(choice(get_args(MemoryForm)))),
        Key(name="htcondor-container", kind=Leaf(choice(get_args(HtcondorContainer)))),
        Key(name="apptainer", kind=LINE),
        Key(name="setup", kind=SHELL_LINES),
        Key(name="poll-interval", kind=Leaf(time)),
        Key(name="binds", kind=BINDS),
        Key(name="image-route", kind=Leaf(choice(get_args(ImageRoute)))),
        Key(name="image-cache", kind=Leaf(cluster_path)),
        Key(name="image-cache-owners", kind=ListOf(Leaf(user_name), 'a list of users, such as ["alice", "1042"]')),
        Key(name="image-cache-size", kind=Leaf(memory)),
        Key(name="tmp", kind=Leaf(cluster_path)),
        Key(name="mirrors", kind=MapOf(_mirror, Leaf(_mirror), 'a table such as { "ghcr.io" = "mirror.example.org" }')),
        Key(name="defaults", kind=Table(WITH_RESOURCES)),
    ),
    _one_of_scheduler_keys,
)

CLUSTERS_FILE = Table((Key(name="clusters", kind=MapOf(name, CLUSTER, "a table of clusters: [clusters.NAME]")),))
"""The lab's file: clusters and nothing else."""

REGISTRY = Table((Key(name="token-service", kind=Leaf(_registry_host), required=True),))

PERSON_FILE = Table(
    (
        *CLUSTERS_FILE.keys,
        Key(
            name="registries",
            kind=MapOf(_registry_host, REGISTRY, 'a table of registries: [registries."registry.example.org"]'),
        ),
        Key(name=SAFE_DIRECTORIES, kind=ListOf(Leaf(_safe_directory), 'a list of folders, such as ["/project/lab/*"]')),
    )
)
"""A person's own file: clusters, and what no project may decide."""

PROJECT_FILE = Table(
    (
        Key(name="image", kind=IMAGE),
        Key(name="images", kind=MapOf(_image_name, IMAGE, "a table of images: [images.NAME]")),
        *CLUSTERS_FILE.keys,
        Key(name="jobs", kind=MapOf(name, JOB, "a table of jobs: [jobs.NAME]")),
    ),
    _one_of_image_tables,
)
