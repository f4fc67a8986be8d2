"""Render the script that builds an image on a login node, and define its exit codes."""

import json
from collections.abc import Mapping
from pathlib import Path

from hpcdeploy import shell
from hpcdeploy.apptainer.client import build_argument
from hpcdeploy.apptainer.diagnosis import NO_PROGRAM_BEGINS
from hpcdeploy.cluster import Cluster
from hpcdeploy.image import MKSQUASHFS, Definition
from hpcdeploy.secret import NO_SECRETS, SecretValue
from hpcdeploy.shell_script import CALL, Script, Setup, Value, paths_function
from hpcdeploy.templates import refuse_former

FAILED = 12

_ABOUT = """\

Run it on a login node:  bash build.sh
The script needs bash, coreutils, tar, flock (util-linux) and Apptainer, but no part of hpcdeploy. You can run it again: it
builds the same inputs only once. It needs the files of the build as one archive. If this archive is missing, the script
prints the path at which it expects the archive.

Exit status: 0 built, now or earlier, or the archive is missing; 10 login node not usable; 12 the build failed.
"""

_SECRETS = """\

The secrets {names} follow on standard input, each as a line NAME BASE64. bash runs none of this input as commands.
"""


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
    """Render the script that builds `definition` on a login node of `cluster`. Running it twice builds only once.

    The script contains only the names of secrets. Their values follow the script on standard input.

    Args:
        definition: The definition to build.
        cluster: The cluster with the login node.
        context_sha256: The checksum of the archive that contains the definition and its files.
        plain_http: Whether Apptainer may pull base images by plain HTTP, which registries on loopback need.
        force: Build even if the image exists.
        secrets: The secrets of the build, by name.
        overrides: The project's folder. The project must not override a template of an earlier version there.

    Raises:
        TemplateError: The project overrides a template of an earlier version.
        ConfigError: A value or a path has a character that a shell word cannot contain.
    """
    refuse_former(overrides)
    folders = {"root": cluster.root, "cache": cluster.images_folder, "tmp": cluster.tmp_folder}
    variables = tuple(value.variable for value in secrets.values() if value.variable)
    values: dict[str, Value] = {
        "name_json": json.dumps(definition.name),
        "inputs": definition.inputs,
        "image_cache_owners": cluster.image_cache_owners,
        "apptainer": cluster.apptainer,
        "prefix": "SINGULARITY" if Path(cluster.apptainer).name.startswith("singularity") else "APPTAINER",
        "context_sha256": context_sha256,
        "build_args": tuple(build_argument(name, value) for name, value in definition.build_args),
        "compression": " ".join(MKSQUASHFS[definition.compression]),
        "plain_http": plain_http,
        "no_program_begins": NO_PROGRAM_BEGINS,
        "force": force,
        "has_secrets": bool(secrets),
        **({"secret_variables": variables} if variables else {}),
    }
    return Script(
        title=f"Build the image {json.dumps(definition.name)} from the inputs {definition.inputs}.",
        about=_ABOUT + (_SECRETS.format(names=", ".join(secrets)) if secrets else ""),
        values=values,
        functions=(paths_function("set_paths", {name: shell.path(path) for name, path in folders.items()}),),
        before_setup=("secret_variables.sh",) if variables else (),
        setup=Setup(lines=cluster.setup, must_succeed=True),
        files=(
            *("build_messages.sh", "paths.sh", "owners.sh", "folders.sh", "trust.sh", "make_temporary.sh", "image_mode.sh"),
            *(("secrets.sh", "build_secrets.sh") if secrets else ()),
            *("json.sh", "build.sh"),
        ),
        call="main {given}<&0 </dev/null; exec </dev/null" if secrets else CALL,
    ).text()
