"""The script that builds an image on a login node, and its exit codes."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from hpcdeploy import __version__, shell
from hpcdeploy.apptainer.diagnosis import NO_PROGRAM_BEGINS
from hpcdeploy.apptainer.options import build_argument
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
    """Render the script that builds `definition` on a login node of `cluster`, once however often it is run.

    ``context_sha256`` is that of the archive with definition and files; ``plain_http`` is for registries on loopback.
    Of the `secrets` only the names get into the script; their values are to follow it on standard input.
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
