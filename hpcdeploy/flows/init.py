"""Writes a first ``hpcdeploy.toml`` out of what a folder holds: a Pixi workspace, and where its repository lies.

The pure half, `first_settings`, turns facts into text; the other half looks at the folder and writes the file.
"""

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcdeploy.config.files import PROJECT_FILE_NAME, settings_in
from hpcdeploy.environments.pixi import Workspace, is_manifest, read_manifest
from hpcdeploy.errors import ConfigError, EnvironmentFileError

MANIFESTS = ("pixi.toml", "pyproject.toml")

_REGISTRIES = {"github.com": "ghcr.io", "gitlab.com": "registry.gitlab.com"}
# Addresses as git-clone(1) has them, with a user or a token in front of the host that must not be carried on.
_REMOTE = re.compile(r"(?:(?:https?|ssh|git)://)?(?:[^@/]*@)?([A-Za-z0-9.-]+)(?::[0-9]+/|[:/]/*)(.+?)(?:\.git)?/*")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a folder holds. ``others`` are recipes of other kinds, by file name; ``remote`` is git's ``origin``."""

    workspace: Workspace | None = None
    others: Sequence[str] = ()
    remote: str = ""


def init(folder: Path, *, force: bool = False) -> Path:
    """Write ``hpcdeploy.toml`` in `folder` and return its path.

    Raises `ConfigError` where there are settings already, unless `force` and they are in ``hpcdeploy.toml`` itself.
    """
    path = folder / PROJECT_FILE_NAME
    if path.exists():
        if not force:
            raise ConfigError(f"{path} is there already; overwrite it with --force")
    elif (place := settings_in(folder)) is not None:
        raise ConfigError(f"{place[0]} holds settings already, in [{place[1]}]; expected them in one file: edit them there")
    text = first_settings(look_around(folder))
    partial = path.with_name(f".{path.name}.new")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
    return path


def look_around(folder: Path) -> Facts:
    """Return what `folder` holds; raises `EnvironmentFileError` for a Pixi manifest that cannot be read."""
    workspace = None
    for file in (folder / name for name in MANIFESTS):
        if workspace is None and file.is_file():
            try:
                text = file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise EnvironmentFileError(f"{file}: cannot be read: {error}") from error
            if is_manifest(text, str(file)):
                workspace = read_manifest(text, str(file))
    others = [name for name in ("spack.yaml", "Dockerfile", "Containerfile") if (folder / name).is_file()]
    others += sorted(path.name for path in folder.glob("*.def") if path.is_file())
    return Facts(workspace=workspace, others=tuple(others), remote=_origin(folder))


def _origin(folder: Path) -> str:
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), "remote", "get-url", "origin"], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""  # No git, no remote to guess from.
    return answer.stdout.strip() if answer.returncode == 0 else ""


def guess_repository(remote: str) -> str:
    """Return the registry's repository that belongs to a git remote; empty where the host is not known to have one."""
    match = _REMOTE.fullmatch(remote)
    if match is None or match[1].lower() not in _REGISTRIES:
        return ""
    path = match[2].strip("/").lower()
    part = r"[a-z0-9]+(?:[._-][a-z0-9]+)*"
    return f"{_REGISTRIES[match[1].lower()]}/{path}" if re.fullmatch(rf"{part}(?:/{part})+", path) else ""


def first_settings(facts: Facts) -> str:
    """Return the text of a first ``hpcdeploy.toml``: what is known stands as it is, the rest as comments to uncomment."""
    cuda = ""
    if facts.workspace is None:
        image = _without_workspace()
    else:
        environment, cuda = _environment(facts.workspace)
        image = _image(facts.workspace, environment, cuda, guess_repository(facts.remote))
    head = [
        "# Settings of hpcdeploy: the image, the clusters, the jobs. Every key: docs/configuration.md of hpcdeploy",
        *(f"# {_shown(name)} is here too; this [image] is made from a Pixi workspace only." for name in facts.others),
    ]
    return "\n".join([*head, "", *image, "", *_cluster(), "", *_job(cuda, has_image=facts.workspace is not None)]) + "\n"


def _environment(workspace: Workspace) -> tuple[str, str]:
    """Return the environment that an image is most likely for, and its CUDA version: the first that wants a GPU."""
    asked: dict[str, str] = {}
    for environment in workspace.environments:
        try:
            asked[environment.name] = workspace.cuda(environment)
        except EnvironmentFileError:
            continue  # Not made for Linux: no image can be made of it.
    with_cuda = [name for name, cuda in asked.items() if cuda]
    name = with_cuda[0] if with_cuda else next(iter(asked), "default")
    return name, asked.get(name, "")


def _image(workspace: Workspace, environment: str, cuda: str, repository: str) -> list[str]:
    others = [found.name for found in workspace.environments if found.name != environment]
    return [
        "[image]",
        f"repository = {_quoted(repository)}"
        if repository
        else '# repository = "ghcr.io/me/train"   # where hpcdeploy push puts it',
        f"pixi = {{ environment = {_quoted(environment)} }}",
        *(
            [f'# The workspace asks for CUDA {_shown(cuda)}; pixi = {{ …, cuda = "…" }} would override that.']
            if cuda
            else []
        ),
        *([f"# Other environments: {', '.join(map(_shown, others))}. For several images: [images.NAME]"] if others else []),
        '# files = { "app" = "/app" }           # from the project\'s folder into the image',
        '# test = ["python --version"]          # run when the image is built; the build fails where it fails',
    ]


def _without_workspace() -> list[str]:
    return [
        "# No Pixi workspace was found here. With a pixi.toml and a pixi.lock (pixi init, pixi lock), uncomment:",
        "# [image]",
        '# repository = "ghcr.io/me/train"',
        '# pixi = { environment = "default" }',
    ]


def _cluster() -> list[str]:
    return [
        "# A cluster may stand here, or for all projects in ~/.config/hpcdeploy/config.toml.",
        "# [clusters.hpc]",
        '# host = "login.hpc.example.org"       # any Host of ~/.ssh/config, or "local" on the login node itself',
        '# scheduler = "slurm"                  # or "htcondor"',
        '# root = "$SCRATCH/hpcdeploy"          # expanded there',
        "# [clusters.hpc.defaults]",
        '# account = "abc"',
        '# partition = "gpu"',
    ]


def _job(cuda: str, *, has_image: bool) -> list[str]:
    return [
        "[jobs.hello]",
        *([] if has_image else ['image = "image.sif"                     # a file, or an oras:// reference']),
        'command = ["nvidia-smi"]' if cuda else 'command = ["sh", "-c", "echo Hello from $(uname -n)"]',
        *(["gpus = 1"] if cuda else []),
        "cpus = 1",
        'memory = "2 GB"',
        'time = "10 min"',
    ]


def _quoted(text: str) -> str:
    """Return `text` as a TOML string: JSON's escapes are TOML's, but DEL must be escaped too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _shown(text: str) -> str:
    """Return `text` as a comment can hold it."""
    return text if text.isprintable() else ascii(text)
