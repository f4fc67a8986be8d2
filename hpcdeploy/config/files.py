"""Find and read the settings files.

There are three: the project's file (``hpcdeploy.toml``, or ``[tool.hpcdeploy]`` in ``pixi.toml`` or ``pyproject.toml``),
the user's clusters (``$XDG_CONFIG_HOME/hpcdeploy/config.toml``), and the lab's file while it runs
(``$XDG_STATE_HOME/hpcdeploy/lab/cluster.toml``). The user's clusters have precedence over the lab's; a project may only set
the job defaults of both.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from hpcdeploy.boundary import Boundary
from hpcdeploy.cluster import Cluster
from hpcdeploy.config.named_files import in_folder
from hpcdeploy.config.project import Layer, Project, assemble
from hpcdeploy.config.reading import Report, Table, joined, nested_table, parse_document, read
from hpcdeploy.config.schema import CLUSTERS_FILE, PERSON_FILE, PROJECT_FILE
from hpcdeploy.config.sweeps import parse_file, swept
from hpcdeploy.errors import ConfigError
from hpcdeploy.folders import config_folder, home_folder, state_folder
from hpcdeploy.job import Array, SweepFile
from hpcdeploy.ownership import check_owned
from hpcdeploy.regular_file import LARGEST_TABLE, LARGEST_TEXT, read_regular

PROJECT_FILE_NAME = "hpcdeploy.toml"
HOSTS = ("pixi.toml", "pyproject.toml")
"""Files of other tools that may contain the settings as ``[tool.hpcdeploy]``."""

_IN_HOSTS = "tool.hpcdeploy"


def load_project(folder: Path, environ: Mapping[str, str] = os.environ, *, optional: bool = False) -> Project:
    """Read the settings for `folder`: the project's file in it or in a folder above, and the files with clusters.

    Args:
        folder: The working folder.
        environ: The environment variables.
        optional: Without a project file, return the clusters only; by default this is an error.

    Raises:
        ConfigError: There is no project file; a file cannot be read or can have been written by another user
            (`hpcdeploy.ownership`); or settings are invalid, all of which are listed in one message.
    """

    def check(file: Path) -> None:
        check_owned((file.parent, file), file.parent, environ)

    start = folder.absolute()
    found = next((place for place in (settings_in(above, check) for above in (start, *start.parents)) if place), None)
    if found is None and not optional:
        raise ConfigError(
            f"no {PROJECT_FILE_NAME} in {start} or above it, and no [{_IN_HOSTS}] in a pixi.toml or pyproject.toml there;"
            " create one with 'hpcdeploy init'"
        )
    layers = []
    for path, schema in ((lab_file(environ), CLUSTERS_FILE), (person_file(environ), PERSON_FILE)):
        if _there(path):
            check_owned((path.parent, path), path.parent, environ)
            layers.append(_layer(path, schema, _document(path)))
    if found is None:
        project = assemble(start, layers, None)
    else:
        file, prefix, raw = found
        project = assemble(file.parent, layers, _layer(file, PROJECT_FILE, raw, prefix))
    clusters = {name: _located(cluster, project.origins, environ) for name, cluster in project.clusters.items()}
    return replace(project, clusters=clusters)


def project_folder(folder: Path) -> Path | None:
    """Return the folder of the project that `folder` is in; None if it is in none.

    The settings are not checked, so that the record of runs can be read although they are invalid.
    """
    start = folder.absolute()
    return next((above for above in (start, *start.parents) if _has_settings(above)), None)


def _has_settings(folder: Path) -> bool:
    if _there(folder / PROJECT_FILE_NAME):
        return True
    try:
        return settings_in(folder) is not None
    except ConfigError:  # this project's manifest, with an error: that of another project is left out
        return True


def token_services(environ: Mapping[str, str] = os.environ) -> Mapping[str, str]:
    """Return the hosts that the user allows to issue tokens for registries on other hosts, by the registry's host.

    A project cannot set them, because it could send the user's passwords to any host.

    Raises:
        ConfigError: The user's settings are invalid, or another user can have written them.
    """
    path = person_file(environ)
    if _there(path):
        check_owned((path.parent, path), path.parent, environ)
    values = _layer(path, PERSON_FILE, _document(path)).values if _there(path) else {}
    return {host.lower(): registry["token-service"] for host, registry in values.get("registries", {}).items()}


def read_sweep(sweep: SweepFile, root: Path, environ: Mapping[str, str] = os.environ, *, of_project: bool = True) -> Array:
    """Read the parameters of a sweep from a file whose path is relative to `root`, or starts with ``/`` or ``~/``.

    If the project names the file (`of_project`), it may be a link; a link out of the project must have a target with the
    same suffix. Messages quote invalid parameters, and a project must not be able to show the content of any file in this
    way. The user confirms files outside of the project first (`hpcdeploy.config.named_files`).

    Raises:
        ConfigError: The file cannot be read, or is invalid; the message has the file and line.
    """
    path = in_folder(sweep.path, root, environ)
    if of_project and path.resolve().suffix.lower() != path.suffix.lower():
        Boundary(root).check(path, f"the parameters of a sweep are in {path}", ConfigError)
    try:
        content = read_regular(path, LARGEST_TABLE)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; expected the parameters of a sweep") from error
    try:
        return swept(parse_file(content, path.name), sweep.throttle)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def person_file(environ: Mapping[str, str]) -> Path:
    """Return the path of the user's own settings: clusters for all projects."""
    return config_folder(environ) / "config.toml"


def lab_file(environ: Mapping[str, str]) -> Path:
    """Return the path of the file that describes the lab while it runs."""
    return state_folder(environ) / "lab" / "cluster.toml"


def settings_in(folder: Path, check: Callable[[Path], None] = lambda _file: None) -> tuple[Path, str, object] | None:
    """Return the file in `folder` that contains a project's settings, the prefix of its keys, and its table.

    Args:
        folder: The folder; those above it are not searched.
        check: Raises an error for a file that must not be used.

    Raises:
        ConfigError: Several files have settings; a file is malformed; or it is a link out of the project, whose content and
            errors are not shown.
    """
    boundary = Boundary(folder)
    candidates: list[tuple[Path, str, object]] = []
    own = folder / PROJECT_FILE_NAME
    if _there(own):
        check(own)
        boundary.check(own, f"the settings {own}", ConfigError)
        candidates.append((own, "", _document(own)))
    for host in (folder / name for name in HOSTS):
        # Parse only files with this word, so that errors in unrelated files of other tools are not reported.
        if _there(host) and not host.is_dir() and b"hpcdeploy" in _bytes(host):
            try:
                table = nested_table(_document(host), _IN_HOSTS)
            except ConfigError:
                if not boundary.holds(host):  # another project's manifest, which must not be quoted
                    continue
                check(host)
                raise
            if table is not None:
                check(host)
                boundary.check(host, f"the settings {host}", ConfigError)
                candidates.append((host, _IN_HOSTS, table))
    if len(candidates) > 1:
        names = " and in ".join(str(path) for path, _, _ in candidates)
        raise ConfigError(f"settings of hpcdeploy are in {names}; expected them in one file, so remove the others")
    return candidates[0] if candidates else None


def _layer(path: Path, schema: Table, raw: object, prefix: str = "") -> Layer:
    report = Report(file=str(path), prefix=prefix)
    values = read(schema, raw, report)
    report.close()
    return Layer(file=path, values=values, paths=report.paths, prefix=prefix)


def _document(path: Path) -> dict[str, object]:
    return parse_document(_bytes(path), str(path))


def _there(path: Path) -> bool:
    """Tell whether `path` exists; an inaccessible path counts as missing."""
    try:
        path.stat()
    except OSError:
        return False
    return True


def _bytes(path: Path) -> bytes:
    try:
        return read_regular(path, LARGEST_TEXT)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; expected a settings file") from error


def _located(cluster: Cluster, origins: Mapping[str, str], environ: Mapping[str, str]) -> Cluster:
    """Return `cluster` with an absolute path of the SSH configuration: ``~`` is home, other paths are relative to the
    settings file."""
    if cluster.ssh_config is None:
        return cluster
    if cluster.ssh_config == "~" or cluster.ssh_config.startswith("~/"):
        path = home_folder(environ) / cluster.ssh_config[2:]
    else:
        path = Path(origins[f"{joined('clusters', cluster.name)}.ssh-config"]).parent / cluster.ssh_config
    return replace(cluster, ssh_config=str(path))
