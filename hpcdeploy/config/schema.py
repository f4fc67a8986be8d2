"""Define all keys of the settings files and the kinds of their values; ``docs/configuration.md`` explains the keys."""

import re
from typing import Any, get_args

from hpcdeploy.architecture import Architecture
from hpcdeploy.cluster import GpuForm, HtcondorContainer, ImageRoute, MemoryForm, SchedulerName, TransportName
from hpcdeploy.config.image_schema import IMAGE, LINE, PLATFORM, SHELL_LINES, platform
from hpcdeploy.config.job_schema import BINDS, DEFAULTS, JOB
from hpcdeploy.config.reading import Either, Key, Leaf, ListOf, MapOf, Table, found
from hpcdeploy.config.validators import cluster_path, line, memory, name, one_of, time, user_name
from hpcdeploy.errors import ConfigError
from hpcdeploy.gpus import GpuVendorChoice
from hpcdeploy.ownership import KEY as SAFE_DIRECTORIES

_NOT_IN_A_HOST = frozenset("'`\"$\\;&<>|(){},")
"""Characters that OpenSSH rejects in host names since 9.6 (ssh.c, valid_hostname).

hpcdeploy rejects them too, because earlier versions of OpenSSH do not: they may insert the name for %h into a command of the
SSH configuration, and a shell runs this command.
"""


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
            f'found {found(value)}; expected a folder on this machine that starts with / or ~/, with "/*" at the end for '
            'all folders below it, or "*" for all folders'
        )
    return words


def _one_of_image_tables(values: dict[str, Any]) -> object:
    if "image" in values and "images" in values:
        raise ConfigError("both [image] and [images.NAME] are set; expected one: use [images.NAME] for all")
    return values


def _one_of_scheduler_keys(values: dict[str, Any]) -> object:
    if "scheduler" in values and "schedulers" in values:
        raise ConfigError('both scheduler and schedulers are set; expected one, such as schedulers = ["slurm", "htcondor"]')
    if "scheduler" in values:
        values["schedulers"] = (values.pop("scheduler"),)
    if len(set(values.get("schedulers", ()))) < len(values.get("schedulers", ())):
        raise ConfigError("schedulers has duplicates; expected each scheduler once, with the default scheduler first")
    return values


def _image_name(value: str) -> str:
    if name(value).endswith(".sif"):
        raise ConfigError(f"found {found(value)}; expected a name that does not end in .sif, because .sif means a file")
    return value


def _partition(value: str) -> str:
    # Slurm separates partitions in an option by commas (sbatch(1), --partition).
    if not re.fullmatch(r"[^\s,]{1,200}", value):
        raise ConfigError(f"found {found(value)}; expected the name of a partition")
    return value


def _everywhere(architectures: tuple[Architecture, ...]) -> dict[str, tuple[Architecture, ...]]:
    return {"": architectures}


PLATFORMS = Either(
    {
        str: Leaf(lambda value: _everywhere((platform(value),)), PLATFORM.accepts),
        list: ListOf(PLATFORM, "a list of platforms", least=1, check=_everywhere),
        dict: MapOf(
            _partition,
            Either(
                {
                    str: Leaf(lambda value: (platform(value),), PLATFORM.accepts),
                    list: ListOf(PLATFORM, "a list of platforms", least=1),
                },
                'a platform, such as "linux-aarch64", or a list of them',
            ),
            'a table of platforms by partition, such as { gh200 = "linux-aarch64" }',
        ),
    },
    'a platform, such as "linux-aarch64", a list of them, or a table by partition',
)
SCHEDULER = one_of(get_args(SchedulerName))

CLUSTER = Table(
    (
        Key(name="host", kind=Leaf(_host)),
        Key(name="scheduler", kind=SCHEDULER),
        Key(name="schedulers", kind=ListOf(SCHEDULER, 'a list such as ["slurm", "htcondor"]', least=1)),
        Key(name="root", kind=Leaf(cluster_path)),
        Key(name="ssh-config", kind=LINE),
        Key(name="transport", kind=one_of(get_args(TransportName))),
        Key(name="gpu-form", kind=one_of(get_args(GpuForm))),
        Key(name="gpu-vendor", kind=one_of(get_args(GpuVendorChoice))),
        Key(name="memory-form", kind=one_of(get_args(MemoryForm))),
        Key(name="htcondor-container", kind=one_of(get_args(HtcondorContainer))),
        Key(name="apptainer", kind=LINE),
        Key(name="setup", kind=SHELL_LINES),
        Key(name="poll-interval", kind=Leaf(time)),
        Key(name="binds", kind=BINDS),
        Key(name="image-route", kind=one_of(get_args(ImageRoute))),
        Key(name="image-cache", kind=Leaf(cluster_path)),
        Key(name="image-cache-owners", kind=ListOf(Leaf(user_name), 'a list of users, such as ["alice", "1042"]')),
        Key(name="image-cache-size", kind=Leaf(memory)),
        Key(name="tmp", kind=Leaf(cluster_path)),
        Key(name="mirrors", kind=MapOf(_mirror, Leaf(_mirror), 'a table such as { "ghcr.io" = "mirror.example.org" }')),
        Key(name="platform", kind=PLATFORMS),
        Key(name="defaults", kind=DEFAULTS),
    ),
    _one_of_scheduler_keys,
)

CLUSTERS_FILE = Table((Key(name="clusters", kind=MapOf(name, CLUSTER, "a table of clusters: [clusters.NAME]")),))
"""The content of the lab's file, which has clusters only."""

REGISTRY = Table((Key(name="token-service", kind=Leaf(_registry_host), required=True),))

USER_FILE = Table(
    (
        *CLUSTERS_FILE.keys,
        Key(
            name="registries",
            kind=MapOf(_registry_host, REGISTRY, 'a table of registries: [registries."registry.example.org"]'),
        ),
        Key(name=SAFE_DIRECTORIES, kind=ListOf(Leaf(_safe_directory), 'a list of folders, such as ["/project/lab/*"]')),
    )
)
"""The content of a user's own file: clusters, and settings that no project may change."""

PROJECT_FILE = Table(
    (
        Key(name="image", kind=IMAGE),
        Key(name="images", kind=MapOf(_image_name, IMAGE, "a table of images: [images.NAME]")),
        *CLUSTERS_FILE.keys,
        Key(name="jobs", kind=MapOf(name, JOB, "a table of jobs: [jobs.NAME]")),
    ),
    _one_of_image_tables,
)
