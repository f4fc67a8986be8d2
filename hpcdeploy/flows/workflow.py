"""Render the GitHub Actions workflow of a project: what it builds, when, and which secrets it reads."""

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
"""The Apptainer version that the workflow installs; setup-apptainer's own default, 1.1.2, does not support build arguments.
"""

GITHUB_REGISTRY = "ghcr.io"
_OWN_VARIABLES = frozenset({"IMAGE", "BUILD_OPTIONS"})


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """The input of a workflow.

    Attributes:
        images: The images.
        paths: Patterns relative to the repository (`hpcdeploy.flows.workflow_paths`).
        branch: The branch that is published.
        install: The requirement that pip installs.
        subfolder: The project's folder in the repository; empty for its root.
        apptainer: The version of Apptainer.
    """

    images: Sequence[ImageSettings]
    paths: Sequence[str]
    branch: str
    install: str
    subfolder: str = ""
    apptainer: str = APPTAINER


def render_workflow(workflow: Workflow, *, overrides: Path | None = None) -> str:
    """Return the workflow's text, from ``workflow_templates/images.yaml``.

    Raises:
        ConfigError: No image has a repository, or a value has a special meaning for GitHub.
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
            "secrets": _read_secrets(logins, secrets),
            "some_secret": any(image.secrets for image in workflow.images),
            "some_option": any(image["options"] for image in images),
        },
        filters={"text": _text, "pattern": pattern_of, "shell": lambda value: word(_plain(value))},
        overrides=overrides,
    )


def secret_prefix(host: str) -> str:
    """Return the prefix of a registry's secrets: ``DOCKER`` for docker.io, else its host in capitals.

    A secret's name has letters, digits and underscores, and starts neither with a digit nor with ``GITHUB_``, which is
    reserved (docs.github.com, "Using secrets in GitHub Actions", naming your secrets).
    """
    if host == "docker.io":
        return "DOCKER"
    name = re.sub(r"[^A-Z0-9]", "_", host.upper())
    return f"REGISTRY_{name}" if re.match(r"[0-9]|GITHUB_", name) else name


def _image(image: ImageSettings) -> dict[str, object]:
    # A file on the user's machine is not on GitHub's, so its content is passed in a variable with the secret's name.
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
            f"the secret {secret.name!r} is in the variable {variable}, which the workflow uses; use another one"
        )
    return variable


def _build_secrets(images: Sequence[ImageSettings]) -> tuple[dict[str, str], ...]:
    """Return which variable of the build step gets which secret, and for which images."""
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
    """List the secrets that the user must set, each with its purpose; GitHub sets its own token."""
    listed = [
        (login[part].removeprefix("secrets."), f"{part} for {host}")
        for host, login in logins.items()
        if host != GITHUB_REGISTRY
        for part in ("username", "password")
    ]
    listed += [(secret["name"], f"read while {secret['images']} is built") for secret in build_secrets]
    return tuple((name, purpose) for name, purpose in listed if name != "GITHUB_TOKEN")


def _plain(value: str) -> str:
    """Return `value`; raise `ConfigError` if GitHub would interpret it, or if it has a line break."""
    if "${{" in value or not value.isprintable():
        raise ConfigError(
            f"found {value!r}, which is not possible in a workflow: ${{{{ and line breaks have a meaning there"
        )
    return value


def _text(value: str) -> str:
    """Quote a string for YAML (1.2.2, 7.3.2), so that it is never a number, a date or a truth value."""
    return "'" + _plain(value).replace("'", "''") + "'"
