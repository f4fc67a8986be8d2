"""Every key of the settings files, as data: what each may hold. ``docs/configuration.md`` says what each is for."""

import re
from typing import Any, get_args

from hpcdeploy.cluster import GpuForm, MemoryForm, SchedulerName
from hpcdeploy.config.directives import htcondor_key, htcondor_value, slurm_key, slurm_value
from hpcdeploy.config.found import found
from hpcdeploy.config.reading import Either, Key, Kind, Leaf, ListOf, MapOf, Table
from hpcdeploy.config.words import (
    ARRAY,
    BIND,
    array,
    bind,
    choice,
    cluster_path,
    identifier,
    image_path,
    label,
    line,
    memory,
    name,
    parse_array,
    parse_bind,
    project_path,
    text,
    time,
    true_or_false,
    variable,
    whole,
)
from hpcdeploy.errors import ConfigError


def _repository(value: object) -> str:
    words = line(value)
    part = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
    if not re.fullmatch(
        rf"(?:localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|[A-Za-z0-9-]+(?=:))(?::[0-9]{{1,5}})?(?:/{part})+", words
    ):
        raise ConfigError(
            f"found {found(value)}; expected HOST/PATH in lower case without scheme, tag or digest,"
            ' such as "ghcr.io/me/train"'
        )
    return words


def _base(value: object) -> str:
    words = line(value)
    if "://" in words or any(character.isspace() for character in words):
        raise ConfigError(
            f'found {found(value)}; expected an image reference without scheme, such as "ghcr.io/prefix-dev/pixi:noble"'
        )
    return words


def _cuda(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"([0-9]{1,3}(\.[0-9]{1,3}){0,2})?", value):
        return value
    hint = f': write "{value}"' if isinstance(value, int | float) and not isinstance(value, bool) else ""
    raise ConfigError(f'found {found(value)}; expected a version in quotes, such as "12.9", or "" for none{hint}')


def _host(value: object) -> str:
    words = line(value)
    if words.startswith("-") or any(character.isspace() for character in words):
        raise ConfigError(f'found {found(value)}; expected a host name, a Host of your SSH configuration, or "local"')
    return words


def _mirror(value: object) -> str:
    words = line(value)
    if not re.fullmatch(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[a-z0-9._/-]+)?", words):
        raise ConfigError(f'found {found(value)}; expected a registry as HOST or HOST:PORT, such as "ghcr.io"')
    return words


def _label_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]*", value):
        raise ConfigError(f"found {found(value)}; expected a label's name: letters, digits, dots, dashes, slashes")
    return value


def _named_program(words: tuple[str, ...]) -> object:
    if not words[0]:
        raise ConfigError('found "" as the first word; expected the name of a program')
    return words


def _one_of_image_tables(values: dict[str, Any]) -> object:
    if "image" in values and "images" in values:
        raise ConfigError("both [image] and [images.NAME] are there; expected one: name the image in [images.NAME] too")
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


LINE, TEXT = Leaf(line), Leaf(text)
SCHEDULER = Leaf(choice(get_args(SchedulerName)))
COMMAND = ListOf(
    TEXT,
    "a list of words",
    ': write ["python", "train.py"], since nothing splits words for you',
    least=1,
    check=_named_program,
)
SHELL_LINES = ListOf(TEXT, "a list of shell lines")
ENVIRONMENT = MapOf(variable, TEXT, "a table of strings by variable name")
BUILD_ARGUMENTS = MapOf(identifier, LINE, "a table of strings by argument name")

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
ARRAY_KIND: Kind = Either({int: Leaf(array), str: Leaf(parse_array), dict: ARRAY_TABLE}, ARRAY)


PIXI = Table(
    (
        Key(name="workspace", kind=Leaf(project_path)),
        Key(name="environment", kind=LINE),
        Key(name="cuda", kind=Leaf(_cuda)),
    )
)

IMAGE = Table(
    (
        Key(
            name="repository",
            kind=Either(
                {str: Leaf(_repository), list: ListOf(Leaf(_repository), "a list of repositories", least=1)},
                "a repository, or a list of them",
            ),
        ),
        Key(name="pixi", kind=PIXI),
        Key(name="base", kind=Leaf(_base)),
        Key(name="final-base", kind=Leaf(_base)),
        Key(name="files", kind=MapOf(project_path, Leaf(image_path), 'a table such as { "app" = "/app/src" }')),
        Key(name="setup", kind=SHELL_LINES),
        Key(name="test", kind=SHELL_LINES),
        Key(name="command", kind=COMMAND),
        Key(name="environment", kind=ENVIRONMENT),
        Key(name="labels", kind=MapOf(_label_name, LINE, "a table of strings by label name")),
        Key(name="build-args", kind=BUILD_ARGUMENTS),
    )
)

RESOURCES = (
    Key(name="nodes", kind=Leaf(whole(1))),
    Key(name="gpus", kind=Leaf(whole(0))),
    Key(name="gpu-type", kind=Leaf(label)),
    Key(name="cpus", kind=Leaf(whole(1))),
    Key(name="memory", kind=Leaf(memory)),
    Key(name="time", kind=Leaf(time)),
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
    Key(name="htcondor", kind=MapOf(htcondor_key, Leaf(htcondor_value), "a table of submit commands")),
)

JOB = Table(
    (
        Key(name="image", kind=LINE),
        Key(name="command", kind=COMMAND),
        *WITH_RESOURCES,
        Key(name="array", kind=ARRAY_KIND),
        Key(name="workdir", kind=Leaf(cluster_path)),
    )
)

CLUSTER = Table(
    (
        Key(name="host", kind=Leaf(_host)),
        Key(name="scheduler", kind=SCHEDULER),
        Key(name="schedulers", kind=ListOf(SCHEDULER, 'a list such as ["slurm", "htcondor"]', least=1)),
        Key(name="root", kind=Leaf(cluster_path)),
        Key(name="ssh-config", kind=LINE),
        Key(name="gpu-form", kind=Leaf(choice(get_args(GpuForm)))),
        Key(name="memory-form", kind=Leaf(choice(get_args(MemoryForm)))),
        Key(name="apptainer", kind=LINE),
        Key(name="setup", kind=SHELL_LINES),
        Key(name="binds", kind=BINDS),
        Key(name="mirrors", kind=MapOf(_mirror, Leaf(_mirror), 'a table such as { "ghcr.io" = "mirror.example.org" }')),
        Key(name="defaults", kind=Table(WITH_RESOURCES)),
    ),
    _one_of_scheduler_keys,
)

CLUSTERS_FILE = Table((Key(name="clusters", kind=MapOf(name, CLUSTER, "a table of clusters: [clusters.NAME]")),))
"""A person's own file, and the lab's: clusters and nothing else."""

PROJECT_FILE = Table(
    (
        Key(name="image", kind=IMAGE),
        Key(name="images", kind=MapOf(_image_name, IMAGE, "a table of images: [images.NAME]")),
        *CLUSTERS_FILE.keys,
        Key(name="jobs", kind=MapOf(name, JOB, "a table of jobs: [jobs.NAME]")),
    ),
    _one_of_image_tables,
)
