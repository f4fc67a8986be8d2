"""Render a first ``hpcdeploy.toml`` from a folder's content.

Settings whose values cannot be derived from the folder are written as comments, for the user to complete and uncomment.
"""

import re
from collections.abc import Sequence

from hpcdeploy.architecture import ARCHITECTURES
from hpcdeploy.config.first_jobs import offered_jobs, quoted, shown
from hpcdeploy.environments.pixi import Workspace
from hpcdeploy.environments.pixi_platform import LINUX, Platform
from hpcdeploy.environments.pixi_tasks import Task
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.frozen import frozen

_REGISTRIES = {"github.com": "ghcr.io", "gitlab.com": "registry.gitlab.com"}
# A URL in a format of git-clone(1): the groups are host and path. A user or token before the host is in no group, so that
# credentials are not copied into the settings.
_REMOTE = re.compile(r"(?:(?:https?|ssh|git)://)?(?:[^@/]*@)?([A-Za-z0-9.-]+)(?::[0-9]+/|[:/]/*+)(.+)")


@frozen
class Facts:
    """The content of a folder.

    Attributes:
        workspace: The folder's Pixi workspace; None if the folder has none.
        files: Paths of existing files that the workspace's tasks name, relative to the workspace.
        others: Names of files for other kinds of images: ``spack.yaml``, a Dockerfile, a definition file.
        remote: The URL of git's remote ``origin``; empty if there is none.
    """

    workspace: Workspace | None = None
    files: frozenset[str] = frozenset()
    others: Sequence[str] = ()
    remote: str = ""


def guess_repository(remote: str) -> str:
    """Return the repository for images in the registry that belongs to the host of a git remote.

    The result is empty if the URL is malformed, or its host is not in `_REGISTRIES`.
    """
    match = _REMOTE.fullmatch(remote)
    if match is None or match[1].lower() not in _REGISTRIES:
        return ""
    path = match[2].rstrip("/").removesuffix(".git").strip("/").lower()
    part = r"[a-z0-9]+(?:[._-][a-z0-9]+)*"
    return f"{_REGISTRIES[match[1].lower()]}/{path}" if re.fullmatch(rf"{part}(?:/{part})+", path) else ""


def first_settings(facts: Facts) -> str:
    """Return the text of a first ``hpcdeploy.toml``."""
    cuda, others = "", list(facts.others)
    tasks: dict[str, Task] = {}
    repository = guess_repository(facts.remote)
    if facts.workspace is not None:
        environment, platforms = _environment(facts.workspace)
        cuda = platforms[0].cuda if platforms else ""
        tasks = tasks_of(facts.workspace, environment, platforms)
        image = _of_workspace(facts.workspace, environment, platforms, repository)
    elif others:
        image = ["[image]", _repository(repository), _source(others.pop(0))]
    else:
        image = _of_nothing()
    head = [
        "# Settings of hpcdeploy: the image, the clusters, the jobs. Every key: docs/configuration.md of hpcdeploy",
        "# To let an editor with Taplo (Even Better TOML) complete keys, run: hpcdeploy schema > hpcdeploy.schema.json",
        "# and put this line, without its first two characters, at the top of the file:",
        "# #:schema ./hpcdeploy.schema.json",
        *(f"# {shown(name)} was found too. To build an image from it: {shown(_source(name))}" for name in others),
    ]
    has_image = facts.workspace is not None or bool(facts.others)
    job = _job("first" if "hello" in tasks else "hello", cuda, has_image=has_image)
    offered = offered_jobs(tasks, facts.files, gpus=bool(cuda))
    return "\n".join([*head, "", *image, "", *_cluster(), "", *job, *offered]) + "\n"


def _source(file: str) -> str:
    """Return the line of ``[image]`` that sets `file` as the image's source."""
    if file == "spack.yaml":
        return 'spack = { environment = "." }'
    return f"{'definition' if file.endswith('.def') else 'dockerfile'} = {quoted(file)}"


def _repository(repository: str) -> str:
    if repository:
        return f"repository = {quoted(repository)}"
    return '# repository = "ghcr.io/me/train"   # where hpcdeploy push stores it'


def _environment(workspace: Workspace) -> tuple[str, tuple[Platform, ...]]:
    """Choose the environment for the image; return its name and its Linux platforms.

    The first environment whose first platform has CUDA is chosen, or else the first one that supports Linux. If none
    supports Linux, the result is ``default`` without platforms. The architecture is the first of `ARCHITECTURES` that an
    environment supports.
    """
    found: dict[str, tuple[Platform, ...]] = {}
    for one in ARCHITECTURES:
        for environment in workspace.environments if not found else ():
            try:
                found[environment.name] = workspace.platforms_for(environment, one.subdir)
            except EnvironmentFileError:
                continue  # the environment does not support Linux, so no image can be built from it
    with_cuda = [name for name, platforms in found.items() if platforms[0].cuda]
    name = with_cuda[0] if with_cuda else next(iter(found), "default")
    return name, found.get(name, ())


def tasks_of(workspace: Workspace, environment: str, platforms: Sequence[Platform]) -> dict[str, Task]:
    """Return the tasks of `environment` on the first of `platforms`, by name; empty if there is no such environment."""
    found = next((one for one in workspace.environments if one.name == environment), None)
    if found is None:
        return {}
    return (found.on(platforms[0]) if platforms else found).tasks


def _of_workspace(workspace: Workspace, environment: str, platforms: Sequence[Platform], repository: str) -> list[str]:
    others = [found.name for found in workspace.environments if found.name != environment]
    several = len(platforms) > 1
    platform = f", platform = {quoted(platforms[0].name)}" if several else ""
    cuda = platforms[0].cuda if platforms else ""
    return [
        "[image]",
        _repository(repository),
        *([f"platform = {quoted(platforms[0].subdir)}"] if platforms and platforms[0].subdir != LINUX else []),
        f"pixi = {{ environment = {quoted(environment)}{platform} }}",
        *([f"# Other platforms: {', '.join(shown(_described(one)) for one in platforms[1:])}"] if several else []),
        *([f'# The workspace requires CUDA {shown(cuda)}. To override: pixi = {{ …, cuda = "…" }}'] if cuda else []),
        *([f"# Other environments: {', '.join(map(shown, others))}. For several images: [images.NAME]"] if others else []),
        '# files = { "app" = "/app" }           # copy from the project\'s folder into the image',
        '# test = ["python --version"]          # commands to run after the build; if one fails, the build fails',
    ]


def _described(platform: Platform) -> str:
    return f"{platform.name} (CUDA {platform.cuda})" if platform.cuda else platform.name


def _of_nothing() -> list[str]:
    return [
        "# No pixi.toml, spack.yaml, Dockerfile or definition file was found here. With a pixi.toml and a pixi.lock",
        "# (pixi init, pixi lock), uncomment:",
        "# [image]",
        '# repository = "ghcr.io/me/train"',
        '# pixi = { environment = "default" }',
    ]


def _cluster() -> list[str]:
    return [
        "# Describe a cluster here, or for all projects in ~/.config/hpcdeploy/config.toml.",
        "# [clusters.hpc]",
        '# host = "login.hpc.example.org"       # any Host of ~/.ssh/config, or "local" on the login node itself',
        '# scheduler = "slurm"                  # or "htcondor"',
        '# root = "$SCRATCH/hpcdeploy"          # variables are expanded on the cluster',
        "# [clusters.hpc.defaults]",
        '# account = "abc"',
        '# partition = "gpu"',
    ]


def _job(name: str, cuda: str, *, has_image: bool) -> list[str]:
    return [
        f"[jobs.{name}]",
        *([] if has_image else ['image = "image.sif"                     # a file, or an oras:// reference']),
        'command = ["nvidia-smi"]' if cuda else 'command = ["sh", "-c", "echo Hello from $(uname -n)"]',
        *(["gpus = 1"] if cuda else []),
        "cpus = 1",
        'memory = "2 GB"',
        'time = "10 min"',
    ]
