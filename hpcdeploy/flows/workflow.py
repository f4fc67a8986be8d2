"""Make the GitHub workflow that builds and pushes a project's images.

The workflow installs the version of hpcdeploy that made the workflow.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

from hpcdeploy import __version__
from hpcdeploy.architecture import AMD64, Architecture
from hpcdeploy.config.project import Project
from hpcdeploy.errors import ConfigError
from hpcdeploy.flows.generate import generate
from hpcdeploy.frozen import frozen
from hpcdeploy.image import ImageSettings, Secret
from hpcdeploy.shell import word
from hpcdeploy.source import DefinitionSource, DockerfileSource, OciConfig, OciSource, PixiSource, SpackSource
from hpcdeploy.tags import read_git_facts
from hpcdeploy.templates import render

_ADVICE = "set the requirement for pip with --install, such as --install 'hpcdeploy @ git+https://HOST/PATH@COMMIT'"


def requirement() -> str:
    """Return the requirement with which pip installs this version of hpcdeploy on another machine.

    The metadata of the installed hpcdeploy contains the source from which it was installed (PEP 610). A release is pinned
    by its version. A git repository, or a clean checkout of a repository, is pinned by its commit.

    Raises:
        ConfigError: hpcdeploy was installed from a source that only this machine has.
    """
    try:
        noted = distribution("hpcdeploy").read_text("direct_url.json")
    except PackageNotFoundError:
        noted = "{}"
    return requirement_of(json.loads(noted) if noted else None, __version__)


def requirement_of(origin: object, version: str) -> str:
    """Return the requirement with which pip installs hpcdeploy from `origin`.

    Args:
        origin: The content of ``direct_url.json``; None if hpcdeploy was installed from a package index.
        version: The version of hpcdeploy.

    Raises:
        ConfigError: Other machines cannot reach the origin.
    """
    if origin is None:
        return f"hpcdeploy=={version}"
    url = str(origin.get("url", "")) if isinstance(origin, dict) else ""
    described = origin if isinstance(origin, dict) else {}
    commit = described.get("vcs_info", {}).get("commit_id", "")
    if commit and url.startswith("https://"):
        return f"hpcdeploy @ git+{url}@{commit}"
    if "archive_info" in described and url.startswith("https://"):
        return f"hpcdeploy @ {url}"
    if url.startswith("file://") and "dir_info" in described:
        git = read_git_facts(Path(unquote(urlsplit(url).path)))
        if git and git.source.startswith("https://") and not git.dirty:
            return f"hpcdeploy @ git+{git.source}@{git.sha}"
    raise ConfigError(f"this hpcdeploy was installed from {url or 'an unknown place'}, which GitHub cannot reach; {_ADVICE}")


TEMPLATES = "defs"
"""The folder of a project's own definition templates."""

ConfigFor = Callable[[str, Architecture], OciConfig]
"""Return the configuration of an image in a registry for an architecture."""

_SPECIAL = re.compile(r"([*?+\[\]!\\])")
_ARCHIVE = re.compile(r"(?:oci|docker)-archive:([^:]+)")


def repository_root(folder: Path) -> Path:
    """Return the top folder of the git repository that contains `folder`; without a repository, return `folder`."""
    real = folder.resolve()
    return next((place for place in (real, *real.parents) if (place / ".git").exists()), real)


def pattern_of(name: str) -> str:
    """Escape a path or a branch for GitHub's patterns (docs.github.com, filter pattern cheat sheet)."""
    return _SPECIAL.sub(r"\\\1", name)


def watched_paths(project: Project, workflow: str, *, image_config: ConfigFor) -> tuple[str, ...]:
    """Return the patterns of all files that the images of `project` depend on, sorted, relative to the repository.

    A folder is watched with all its content (``FOLDER/**``), so that a new file in the folder starts the workflow too.

    Args:
        project: The project.
        workflow: The path of the workflow's own file, relative to the repository.
        image_config: Returns the configuration of an image in a registry for an architecture.

    Raises:
        DefinitionError: A definition cannot be made.
        EnvironmentFileError: An environment file cannot be read.
        RegistryError: `image_config` failed.
    """
    root = project.root.resolve()
    found = {path for image in project.images.values() for path in _depends_on(image, root, image_config)}
    if project.file:
        found.add(root / project.file.name)
    if (root / TEMPLATES).is_dir():
        found.add(root / TEMPLATES)
    folders = {path for path in found if path.is_dir()}
    top = repository_root(root)
    patterns = {_pattern(path, top) for path in found if not folders.intersection(path.parents)}
    return tuple(sorted({*patterns, pattern_of(workflow)}))


def _depends_on(image: ImageSettings, root: Path, image_config: ConfigFor) -> Iterator[Path]:
    yield from (root / copy.source for copy in image.files)
    match image.source:
        case DockerfileSource() as source:
            yield root / source.file
            yield root / source.context
        case OciSource() as source:
            archive = _ARCHIVE.match(source.reference)
            if archive:
                yield root / archive[1]
        case source:
            # A file directly in one of these folders is watched alone. For any other file, its whole folder is watched.
            listed_folders = {root}
            if isinstance(source, DefinitionSource):
                yield root / source.file
            if isinstance(source, PixiSource):
                listed_folders.add(root / source.workspace)
            if isinstance(source, SpackSource):
                listed_folders.add(root / source.environment)
                yield root / source.environment / "spack.lock"  # also if it does not exist yet
                yield from (root / folder for folder in source.repos)

            def config(reference: str) -> OciConfig:
                return image_config(reference, image.architecture)

            for file in generate(image, root, image_config=config).files:
                yield file.source if file.source.parent in listed_folders else file.source.parent


def _pattern(path: Path, top: Path) -> str:
    pattern = pattern_of(path.relative_to(top).as_posix())
    if not path.is_dir():
        return pattern
    return "**" if path == top else f"{pattern}/**"


APPTAINER = "1.4.5"
"""The Apptainer version that the workflow installs.

The default of the action setup-apptainer is 1.1.2, which does not support build arguments.
"""

GITHUB_REGISTRY = "ghcr.io"
_OWN_VARIABLES = frozenset({"IMAGE", "BUILD_OPTIONS"})


@frozen
class Workflow:
    """The values that a workflow's text is made from.

    Attributes:
        images: The settings of the images that the workflow builds.
        paths: Patterns of the files whose changes start the workflow, relative to the repository (`watched_paths`).
        branch: The branch from which images are published.
        install: The requirement with which pip installs hpcdeploy (`requirement`).
        subfolder: The project's folder, relative to the repository; empty if it is the repository's top folder.
        apptainer: The version of Apptainer that the workflow installs.
    """

    images: Sequence[ImageSettings]
    paths: Sequence[str]
    branch: str
    install: str
    subfolder: str = ""
    apptainer: str = APPTAINER


def render_workflow(workflow: Workflow, *, overrides: Path | None = None) -> str:
    """Return the workflow's text, made from the template ``workflow_templates/images.yaml``.

    Raises:
        ConfigError: No image has a repository, a value cannot be written in a workflow, or a secret's variable is one that
            the workflow uses.
        TemplateError: The template is broken.
    """
    images = [_image(image) for image in workflow.images]
    published = [image for image in workflow.images if image.repositories]
    if not published:
        raise ConfigError(
            "no image has a repository, so the workflow would publish nothing; set 'repository' in the settings of an image"
        )
    hosts = dict.fromkeys(host for image in published for host in _hosts(image))
    logins = {host: _login(host) for host in hosts}
    secrets = _build_secrets(published)
    return render(
        "workflow_templates/images.yaml",
        {
            "version": __version__,
            "images": images,
            "paths": tuple(workflow.paths),
            "branch": workflow.branch,
            "subfolder": workflow.subfolder,
            "install": workflow.install,
            "apptainer": workflow.apptainer,
            "logins": logins,
            "build_secrets": secrets,
            "secrets": _secrets_to_set(logins, secrets),
            "some_secret": any(image.secrets for image in workflow.images),
            "some_other": any(image.architecture != AMD64 for image in workflow.images),
            "some_option": any(image["options"] for image in images),
        },
        filters={"text": _text, "pattern": pattern_of, "shell": lambda value: word(_plain(value))},
        overrides=overrides,
    )


def secret_prefix(host: str) -> str:
    """Return the prefix for the names of a registry's secrets: ``DOCKER`` for docker.io, else the host in capitals.

    GitHub accepts letters, digits and underscores in a secret's name. The name must start neither with a digit nor with
    ``GITHUB_`` (docs.github.com, "Using secrets in GitHub Actions", naming your secrets). Therefore other characters become
    underscores, and a name that starts with a digit or with ``GITHUB_`` gets the prefix ``REGISTRY_``.
    """
    if host == "docker.io":
        return "DOCKER"
    name = re.sub(r"[^A-Z0-9]", "_", host.upper())
    return f"REGISTRY_{name}" if re.match(r"[0-9]|GITHUB_", name) else name


def _image(image: ImageSettings) -> dict[str, object]:
    # GitHub's machine does not have the file of a secret, so the secret is passed in a variable with the secret's name.
    options = " ".join(f"--secret id={secret.name},env={secret.name}" for secret in image.secrets if secret.file)
    return {
        "name": image.name,
        "hosts": _hosts(image),
        "secrets": image.secrets,
        "options": options,
        "runner": image.architecture.runners,
    }


def _hosts(image: ImageSettings) -> tuple[str, ...]:
    return tuple(dict.fromkeys(repository.partition("/")[0] for repository in image.repositories))


def _login(host: str) -> dict[str, str]:
    if host == GITHUB_REGISTRY:
        return {"username": "github.actor", "password": "secrets.GITHUB_TOKEN"}
    prefix = secret_prefix(host)
    return {"username": f"secrets.{prefix}_USERNAME", "password": f"secrets.{prefix}_PASSWORD"}


def _variable(secret: Secret) -> str:
    variable = secret.env or secret.name
    if variable in _OWN_VARIABLES:
        raise ConfigError(
            f"the secret {secret.name!r} is read from the variable {variable}, which the workflow itself uses; use another "
            "variable"
        )
    return variable


def _build_secrets(images: Sequence[ImageSettings]) -> tuple[dict[str, str], ...]:
    """Return the variables of the workflow's build step that hold secrets, with GitHub's expression for each value."""
    wanted: dict[str, list[str]] = {}
    for image in images:
        for variable in dict.fromkeys(map(_variable, image.secrets)):
            wanted.setdefault(variable, []).append(image.name)
    secrets = []
    for variable, names in wanted.items():
        reserved = re.match(r"GITHUB_", variable, re.IGNORECASE) and variable != "GITHUB_TOKEN"
        name = f"BUILD_{variable}" if reserved else variable
        value = f"secrets.{name}"
        if len(names) < len(images):
            value = f"contains(fromJSON('{json.dumps(names)}'), matrix.image) && {value} || ''"
        secrets.append({"variable": variable, "name": name, "value": value, "images": ", ".join(names)})
    return tuple(secrets)


def _secrets_to_set(
    logins: dict[str, dict[str, str]], build_secrets: Sequence[dict[str, str]]
) -> tuple[tuple[str, str], ...]:
    """Return the names of the secrets that the user must set on GitHub, each with its purpose.

    GITHUB_TOKEN is left out, because GitHub sets it.
    """
    listed = [
        (login[part].removeprefix("secrets."), f"{part} for {host}")
        for host, login in logins.items()
        if host != GITHUB_REGISTRY
        for part in ("username", "password")
    ]
    listed += [(secret["name"], f"read while {secret['images']} is built") for secret in build_secrets]
    return tuple((name, purpose) for name, purpose in listed if name != "GITHUB_TOKEN")


def _plain(value: str) -> str:
    """Return `value`; raise `ConfigError` if it has ``${{``, which GitHub interprets, or an unprintable character."""
    if "${{" in value or not value.isprintable():
        raise ConfigError(
            f"found {value!r}, which cannot be written in a workflow; use a value without ${{{{, line breaks and other "
            "control characters"
        )
    return value


def _text(value: str) -> str:
    """Quote a string for YAML (1.2.2, 7.3.2), so that it is never a number, a date or a truth value."""
    return "'" + _plain(value).replace("'", "''") + "'"
