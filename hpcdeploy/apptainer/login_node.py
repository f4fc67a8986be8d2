"""The script that builds an image on a login node, and what it answers."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from hpcdeploy import __version__, shell
from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import BuildError
from hpcdeploy.image import Definition
from hpcdeploy.templates import render

MARK = "HPCDEPLOY "
"""How the one line begins that is for us; everything else that a login shell prints is for people."""

NOT_READY = 10
FAILED = 12

_FILTERS: dict[str, Callable[..., str]] = {"word": shell.word}


def building(
    definition: Definition,
    cluster: Cluster,
    *,
    context_sha256: str,
    plain_http: bool = False,
    force: bool = False,
    overrides: Path | None = None,
) -> str:
    """Render the script that builds `definition` on a login node of `cluster`, once however often it is run.

    ``context_sha256`` is that of the archive with definition and files; ``plain_http`` is for registries on loopback.
    """
    values: dict[str, object] = {
        "version": __version__,
        "name": json.dumps(definition.name),
        "name_json": json.dumps(definition.name),
        "inputs": definition.inputs,
        "root": shell.path(cluster.root),
        "setup": cluster.setup,
        "apptainer": cluster.apptainer,
        "singularity": Path(cluster.apptainer).name.startswith("singularity"),
        "context_sha256": context_sha256,
        "build_args": definition.build_args,
        "plain_http": plain_http,
        "force": force,
    }
    return render("login_templates/build.sh", values, filters=_FILTERS, overrides=overrides)


def read_answer(stdout: bytes) -> Mapping[str, object] | None:
    """Return the marked line's values, or None where there is none. `BuildError` where it is not what the script writes."""
    lines = [line for line in stdout.decode(errors="replace").splitlines() if line.startswith(MARK)]
    if not lines:
        return None
    try:
        answer = json.loads(lines[-1].removeprefix(MARK))
    except ValueError as error:
        raise BuildError(f"the login node answered {lines[-1]!r}, which is no JSON; run the same command again") from error
    if not isinstance(answer, dict):
        raise BuildError(f"the login node answered {lines[-1]!r}, where a table was expected; run the same command again")
    return answer
