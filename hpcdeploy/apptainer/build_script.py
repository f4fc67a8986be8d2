"""Render the script that builds an image on a login node, and define its exit codes."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from hpcdeploy import __version__, shell
from hpcdeploy.apptainer.client import build_argument
from hpcdeploy.apptainer.diagnosis import NO_PROGRAM_BEGINS
from hpcdeploy.cluster import Cluster
from hpcdeploy.image import Definition
from hpcdeploy.secret import NO_SECRETS, SecretValue
from hpcdeploy.templates import render

FAILED = 12

_FILTERS: dict[str, Callable[..., str]] = {"word": shell.word, "words": shell.words}


def building(
    definition: Definition,
    cluster: Cluster,
    *,
    context_sha256: str,
    plain_http: bool = False,
    force: bool = False,
    secrets: Mapping[str, SecretValue] = NO_SECRETS,
    overrides: Path | None = None,
) -> str:
    """Render the idempotent script that builds `definition` on a login node of `cluster`.

    Only the names of secrets are in the script; their values follow it on standard input.

    Args:
        definition: The definition.
        cluster: The cluster.
        context_sha256: The checksum of the archive with definition and files.
        plain_http: Use plain HTTP, for registries on loopback.
        force: Build even if the image exists.
        secrets: The secrets.
        overrides: The project's folder, whose own templates replace the built-in ones.

    Raises:
        TemplateError: A template is broken.
    """
    values: dict[str, object] = {
        "version": __version__,
        "name": json.dumps(definition.name),
        "name_json": json.dumps(definition.name),
        "inputs": definition.inputs,
        "root": shell.path(cluster.root),
        "cache": shell.path(cluster.images_folder),
        "image_cache_owners": cluster.image_cache_owners,
        "tmp": shell.path(cluster.tmp_folder),
        "setup": cluster.setup,
        "apptainer": cluster.apptainer,
        "singularity": Path(cluster.apptainer).name.startswith("singularity"),
        "context_sha256": context_sha256,
        "build_args": tuple(build_argument(name, value) for name, value in definition.build_args),
        "plain_http": plain_http,
        "no_program_begins": NO_PROGRAM_BEGINS,
        "force": force,
        "secrets": tuple(secrets),
        "variables": tuple(value.variable for value in secrets.values() if value.variable),
    }
    return render("login_templates/build.sh", values, filters=_FILTERS, overrides=overrides)
