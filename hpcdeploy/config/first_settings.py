"""Render a first ``hpcdeploy.toml`` from a folder's content; unknown settings are comments to uncomment."""

import re
from collections.abc import Sequence

from hpcdeploy.config.first_jobs import offered_jobs, quoted, shown
from hpcdeploy.environments.pixi import Workspace
from hpcdeploy.environments.pixi_platform import Platform
from hpcdeploy.environments.pixi_tasks import Task
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.frozen import frozen

_REGISTRIES = {"github.com": "ghcr.io", "gitlab.com": "registry.gitlab.com"}
# URLs in the format of git-clone(1), with a user or a token before the host, which must not be copied.
_REMOTE = re.compile(r"(?:(?:https?|ssh|git)://)?(?:[^@/]*@)?([A-Za-z0-9.-]+)(?::[0-9]+/|[:/]/*+)(.+)")


@frozen
class Facts:
    """The content of a folder.

    Attributes:
        workspace: Its Pixi workspace; None if there is none.
        files: The files of the folder that the workspace's tasks name, as they name them.
        others: The names of files for other kinds of images.
        remote: git's ``origin``.
    """

    workspace: Workspace | None = None
    files: frozenset[str] = frozenset()
    others: Sequence[str] = ()
    remote: str = ""


def guess_repository(remote: str) -> str:
    """Return the repository in the registry of a git remote; empty if its host is not known to have one."""
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
        "# Editors with Taplo (Even Better TOML) complete the keys after: hpcdeploy schema > hpcdeploy.schema.json",
        "# and with this line at the top of the file, without its first two characters:",
        "# #:schema ./hpcdeploy.schema.json",
        *(f"# {shown(name)} is here too. An image of it: {shown(_source(name))}" for name in others),
    ]
    has_image = facts.workspace is not None or bool(facts.others)
    job = _job("first" if "hello" in tasks else "hello", cuda, has_image=has_image)
    offered = offered_jobs(tasks, facts.files, gpus=bool(cuda))
    return "\n".join([*head, "", *image, "", *_cluster(), "", *job, *offered]) + "\n"


def _source(file: str) -> str:
    """Return the line for an image from a file of the folder."""
    if file == "spack.yaml":
        return 'spack = { environment = "." }'
    return f"{'definition' if file.endswith('.def') else 'dockerfile'} = {quoted(file)}"


def _repository(repository: str) -> str:
    if repository:
        return f"repository = {quoted(repository)}"
    return '# repository = "ghcr.io/me/train"   # where hpcdeploy push stores it'


def _environment(workspace: Workspace) -> tuple[str, tuple[Platform, ...]]:
    """Return the likely environment and its platforms: the first whose first platform has CUDA, else the first one.

    An environment that does not support Linux has no platforms.
    """
    found: dict[str, tuple[Platform, ...]] = {}
    for environment in workspace.environments:
        try:
            found[environment.name] = workspace.platforms_for(environment)
        except EnvironmentFileError:
            continue  # it does not support Linux, so no image can be made from it
    with_cuda = [name for name, platforms in found.items() if platforms[0].cuda]
    name = with_cuda[0] if with_cuda else next(iter(found), "default")
    return name, found.get(name, ())


def tasks_of(workspace: Workspace, environment: str, platforms: Sequence[Platform]) -> dict[str, Task]:
    """Return the tasks of an environment on its first platform, by name; none if the workspace has no such environment."""
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
        f"pixi = {{ environment = {quoted(environment)}{platform} }}",
        *([f"# Its other platforms: {', '.join(shown(_described(one)) for one in platforms[1:])}"] if several else []),
        *([f'# The workspace requires CUDA {shown(cuda)}; pixi = {{ …, cuda = "…" }} would override that.'] if cuda else []),
        *([f"# Other environments: {', '.join(map(shown, others))}. For several images: [images.NAME]"] if others else []),
        '# files = { "app" = "/app" }           # from the project\'s folder into the image',
        '# test = ["python --version"]          # run after the build; the build fails if it fails',
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
        '# root = "$SCRATCH/hpcdeploy"          # expanded there',
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
