"""Render the script that builds an image on a login node, and define its exit codes."""

import json
from collections.abc import Mapping
from pathlib import Path

from hpcdeploy import __version__, shell
from hpcdeploy.apptainer import sif_edit
from hpcdeploy.apptainer.client import build_argument
from hpcdeploy.apptainer.diagnosis import NO_PROGRAM_BEGINS
from hpcdeploy.apptainer.packing import MEMORY
from hpcdeploy.cluster import Cluster
from hpcdeploy.definition.base_images import mirror_addresses, needs_plain_http, pinned, redirect
from hpcdeploy.definition.grammar import read_definition
from hpcdeploy.frozen import frozen
from hpcdeploy.image import Definition
from hpcdeploy.secret import NO_SECRETS, SecretValue
from hpcdeploy.shell_script import CALL, Script, Setup, Value, library_file, paths_function
from hpcdeploy.templates import refuse_former

FAILED = 12


@frozen
class Repeating:
    """What a build uses of earlier builds.

    Attributes:
        force: Build even if the image exists; here, overwrite any file at the output.
        exact_tools: Build if the image exists, but was built with other tools or other versions of them.
        downloads: The name of the folder on a login node in which the image's downloads are kept; empty to keep none.
        project: The project's folder, which `hpcdeploy cache list` shows for the downloads.
    """

    force: bool = False
    exact_tools: bool = False
    downloads: str = ""
    project: str = ""


NORMAL = Repeating()
"""An image that exists is not built again, and no downloads are kept."""

_ABOUT = """\

Run it on a login node:  bash build.sh
The script needs bash, coreutils, tar, flock (util-linux) and Apptainer, but no part of hpcdeploy. With python3 and
mksquashfs, the same inputs give the same bytes. You can run it again: it builds the same inputs only once. It needs the
files of the build as one archive, and code to append as another one. If an archive is missing, the script prints the path at
which it expects the archive.

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
    code_sha256: str = "",
    repeating: Repeating = NORMAL,
    secrets: Mapping[str, SecretValue] = NO_SECRETS,
    overrides: Path | None = None,
) -> str:
    """Render the script that builds `definition` on a login node of `cluster`. Running it twice builds only once.

    The script contains only the names of secrets. Their values follow the script on standard input.

    Args:
        definition: The definition to build.
        cluster: The cluster with the login node.
        context_sha256: The checksum of the archive that contains the definition and its files.
        code_sha256: The checksum of the archive that contains the code, if the code is appended. The other archive then has
            marks at the places of the code.
        repeating: How an existing image and kept downloads are treated.
        secrets: The secrets of the build, by name.
        overrides: The project's folder. The project must not override a template of an earlier version there.

    Raises:
        TemplateError: The project overrides a template of an earlier version.
        ConfigError: A value or a path has a character that a shell word cannot contain.
    """
    refuse_former(overrides)
    original = pinned(definition.text, dict(definition.bases))
    text = redirect(original, cluster.mirrors)
    folders = {"root": cluster.root, "cache": cluster.images_folder, "tmp": cluster.tmp_folder}
    values = {
        **_values(definition, cluster, repeating, secrets),
        "context_sha256": context_sha256,
        "plain_http": needs_plain_http(text),
        **_packing(definition, original, text),
        **_code(definition, code_sha256),
    }
    return Script(
        title=f"Build the image {json.dumps(definition.name)} from the inputs {definition.inputs}.",
        about=_ABOUT + (_SECRETS.format(names=", ".join(secrets)) if secrets else ""),
        values=values,
        functions=(paths_function("set_paths", {name: shell.path(path) for name, path in folders.items()}),),
        before_setup=("secret_variables.sh",) if "secret_variables" in values else (),
        setup=Setup(lines=cluster.setup, must_succeed=True),
        files=(
            *("build_messages.sh", "paths.sh", "owners.sh", "folders.sh", "trust.sh", "intact.sh", "make_temporary.sh"),
            *("image_mode.sh", "keep_downloads.sh", "repeatable.sh", "append.sh"),
            *(("secrets.sh", "build_secrets.sh") if secrets else ()),
            *("json.sh", "build.sh"),
        ),
        call="main {given}<&0 </dev/null; exec </dev/null" if secrets else CALL,
    ).text()


def _values(
    definition: Definition, cluster: Cluster, repeating: Repeating, secrets: Mapping[str, SecretValue]
) -> dict[str, Value]:
    """Return the values of ``login/build.sh``."""
    variables = tuple(value.variable for value in secrets.values() if value.variable)
    return {
        **_inputs(definition),
        **_earlier(repeating),
        "image_cache_owners": cluster.image_cache_owners,
        "apptainer": cluster.apptainer,
        "prefix": "SINGULARITY" if Path(cluster.apptainer).name.startswith("singularity") else "APPTAINER",
        "no_program_begins": NO_PROGRAM_BEGINS,
        "has_secrets": bool(secrets),
        **({"secret_variables": variables} if variables else {}),
    }


def _packing(definition: Definition, original: str, text: str) -> dict[str, Value]:
    """Return the values of ``login/repeatable.sh``. `text` is the `original` definition with the mirrors of the cluster."""
    return {
        "epoch": definition.epoch,
        "rewrites": json.dumps(sif_edit.rewrites_of(definition.epoch, mirror_addresses(original, text))),
        "packing_options": json.dumps([*definition.compression.options, "-mem", MEMORY]),
        "compression": " ".join(definition.compression.options),
        "packer": library_file("squashfs.py"),
        "sif_editor": Path(sif_edit.__file__).read_text(encoding="utf-8"),
    }


def _code(definition: Definition, sha256: str) -> dict[str, Value]:
    """Return the values of ``login/append.sh``; `sha256` is the checksum of the code's archive, or empty."""
    code = definition.code if sha256 else ()
    return {
        "code_sha256": sha256,
        "code_destinations": json.dumps([place.destination for place in code]),
        "code_staged": tuple(place.staged for place in code),
        "code_places": tuple(place.destination for place in code),
        "has_test": bool(code) and bool(read_definition(definition.text)[-1].section("test").strip()),
    }


def _inputs(definition: Definition) -> dict[str, Value]:
    return {
        "name_json": json.dumps(definition.name),
        "inputs": definition.inputs,
        "former": definition.former,
        "environment": definition.environment,
        "build_args": tuple(build_argument(name, value) for name, value in definition.build_args),
        "release": __version__,
        "machine": definition.architecture.machine if definition.architecture else "",
        "arch": definition.architecture.name if definition.architecture else "",
    }


def _earlier(repeating: Repeating) -> dict[str, Value]:
    return {
        "force": repeating.force,
        "exact_tools": repeating.exact_tools,
        "downloads": repeating.downloads,
        "project_json": json.dumps(repeating.project),
    }
