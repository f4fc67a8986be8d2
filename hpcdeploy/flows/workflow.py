"""The GitHub Actions workflow of a project: what it builds, when, and which secrets it reads, as text."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpcdeploy import __version__
from hpcdeploy.errors import ConfigError
from hpcdeploy.flows.workflow_paths import pattern_of
from hpcdeploy.image import ImageSettings, Secret
from hpcdeploy.shell import word
from hpcdeploy.templates import render

APPTAINER = "1.4.5"
"""The Apptainer that the workflow sets up: setup-apptainer's own default, 1.1.2, knows no build arguments."""

GITHUB_REGISTRY = "ghcr.io"
_OWN_VARIABLES = frozenset({"IMAGE", "BUILD_OPTIONS"})


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """A project as its workflow sees it.

    ``paths`` are patterns relative to the repository (`hpcdeploy.flows.workflow_paths`), ``subfolder`` is the project's
    folder in it (empty: the repository's own), ``branch`` the one that is published, ``install`` what pip is given.
    """

    images: Sequence[ImageSettings]
    paths: Sequence[str]
    branch: str
    install: str
    subfolder: str = ""
    apptainer: str = APPTAINER


def render_workflow(workflow: Workflow, *, overrides: Path | None = None) -> str:
    """Return the workflow's text, from ``workflow_templates/images.yaml``.

    Raises `ConfigError` where no image has a repository, or where words would mean something else to GitHub.
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
            "secrets": _read_secrets(logins, secrets),
            "some_secret": any(image.secrets for image in workflow.images),
            "some_option": any(image["options"] for image in images),
        },
        filters={"text": _text, "pattern": pattern_of, "shell": lambda value: word(_plain(value))},
        overrides=overrides,
    )


def secret_prefix(host: str) -> str:
    """Return how the secrets of a registry begin: ``DOCKER`` for docker.io, else its host in capitals.

    A secret's name has letters, digits and underscores, does not begin with a digit, and not with ``GITHUB_``, which is
    GitHub's own (docs.github.com, "Using secrets in GitHub Actions", naming your secrets).
    """
    if host == "docker.io":
        return "DOCKER"
    name = re.sub(r"[^A-Z0-9]", "_", host.upper())
    return f"REGISTRY_{name}" if re.match(r"[0-9]|GITHUB_", name) else name


def _image(image: ImageSettings) -> dict[str, object]:
    # A file of a person's machine is not on GitHub's: its content comes as a variable of the secret's own name.
    options = " ".join(f"--secret id={secret.name},env={secret.name}" for secret in image.secrets if secret.file)
    return {"name": image.name, "hosts": _hosts(image), "secrets": image.secrets, "options": options}


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
            f"the secret {secret.name!r} is in the variable {variable}, which the workflow needs; name another"
        )
    return variable


def _build_secrets(images: Sequence[ImageSettings]) -> tuple[dict[str, str], ...]:
    """Say which variable of the build step gets which secret, and for which images."""
    wanted: dict[str, list[str]] = {}
    for image in images:
        for variable in dict.fromkeys(map(_variable, image.secrets)):
            wanted.setdefault(variable, []).append(image.name)
    secrets = []
    for variable, names in wanted.items():
        own = re.match(r"GITHUB_", variable, re.IGNORECASE) and variable != "GITHUB_TOKEN"
        name = f"BUILD_{variable}" if own else variable
        value = f"secrets.{name}"
        if len(names) < len(images):
            value = f"contains(fromJSON('{json.dumps(names)}'), matrix.image) && {value} || ''"
        secrets.append({"variable": variable, "name": name, "value": value, "images": ", ".join(names)})
    return tuple(secrets)


def _read_secrets(logins: dict[str, dict[str, str]], build_secrets: Sequence[dict[str, str]]) -> tuple[tuple[str, str], ...]:
    """List the secrets that a person must set, each with what it is for; GitHub sets its token itself."""
    listed = [
        (login[part].removeprefix("secrets."), f"{part} for {host}")
        for host, login in logins.items()
        if host != GITHUB_REGISTRY
        for part in ("username", "password")
    ]
    listed += [(secret["name"], f"read while {secret['images']} is built") for secret in build_secrets]
    return tuple((name, purpose) for name, purpose in listed if name != "GITHUB_TOKEN")


def _plain(value: str) -> str:
    """Return `value`; raise `ConfigError` where GitHub would compute something of it, or it leaves its line."""
    if "${{" in value or not value.isprintable():
        raise ConfigError(f"found {value!r}, which a workflow cannot hold: ${{{{ and line breaks mean something there")
    return value


def _text(value: str) -> str:
    """Quote a string for YAML (1.2.2, 7.3.2): nothing in it means anything, and it is no number, date or truth value."""
    return "'" + _plain(value).replace("'", "''") + "'"
