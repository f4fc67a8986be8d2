"""The edge of the settings: finds the files, reads them, and hands their text to the pure half.

Three places say something: the project's file (``hpcdeploy.toml``, or ``[tool.hpcdeploy]`` in ``pixi.toml`` or
``pyproject.toml``), the person's clusters (``$XDG_CONFIG_HOME/hpcdeploy/config.toml``), and the lab's, written while it is
up (``$XDG_STATE_HOME/hpcdeploy/lab/cluster.toml``). A person's own have precedence over the lab's; of both a project may set
the job defaults only.
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
"""Files of other tools that may hold the settings as ``[tool.hpcdeploy]``."""

_IN_HOSTS = "tool.hpcdeploy"


def load_project(folder: Path, environ: Mapping[str, str] = os.environ, *, optional: bool = False) -> Project:
    """Read the settings that hold in `folder`: its project file, looked for there and upward, and the clusters' files.

    Where no project file is found, raises `ConfigError`, unless `optional`: then only clusters are known. Raises
    `ConfigError` for a file that cannot be read, for one that another user may have written (`hpcdeploy.ownership`), and for
    everything that it may not say, all of it in one message.
    """

    def check(file: Path) -> None:
        check_owned((file.parent, file), file.parent, environ)

    start = folder.absolute()
    found = next((place for place in (settings_in(above, check) for above in (start, *start.parents)) if place), None)
    if found is None and not optional:
        raise ConfigError(
            f"no {PROJECT_FILE_NAME} in {start} or above it, and no [{_IN_HOSTS}] in a pixi.toml or pyproject.toml there;"
            " write one with: hpcdeploy init"
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
    """Return the hosts that the person lets issue tokens for registries on other hosts, by the registry's host.

    A project cannot say so: it would send the person's passwords where it likes.
    Raises `ConfigError` as `load_project` does.
    """
    path = person_file(environ)
    if _there(path):
        check_owned((path.parent, path), path.parent, environ)
    values = _layer(path, PERSON_FILE, _document(path)).values if _there(path) else {}
    return {host.lower(): registry["token-service"] for host, registry in values.get("registries", {}).items()}


def read_sweep(sweep: SweepFile, root: Path, environ: Mapping[str, str] = os.environ, *, of_project: bool = True) -> Array:
    """Read the parameters of a sweep that stand in a file: relative to `root`, or from ``/`` or ``~/``.

    One that the project names (`of_project`) may be a link, out of the project only to a file of the same kind by its name:
    a message quotes what no parameter can be, and a project must not have any file quoted so. The person is asked before
    whether it may lie outside at all (`hpcdeploy.config.named_files`). Raises `ConfigError` with file and line for what it
    may not say.
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
    """Return the path of a person's own settings: clusters that serve all projects."""
    return config_folder(environ) / "config.toml"


def lab_file(environ: Mapping[str, str]) -> Path:
    """Return the path of the file that describes the lab while it is up."""
    return state_folder(environ) / "lab" / "cluster.toml"


def settings_in(folder: Path, check: Callable[[Path], None] = lambda _file: None) -> tuple[Path, str, object] | None:
    """Return the file in `folder` itself that holds a project's settings, the prefix of its keys there, and its table.

    `check` raises for a file that must not be used. Raises `ConfigError` where two files hold some, and for one that is a
    link out of the project. Of such a link nothing is quoted: not what it holds, nor what is wrong with it.
    """
    boundary = Boundary(folder)
    candidates: list[tuple[Path, str, object]] = []
    own = folder / PROJECT_FILE_NAME
    if _there(own):
        check(own)
        boundary.check(own, f"the settings {own}", ConfigError)
        candidates.append((own, "", _document(own)))
    for host in (folder / name for name in HOSTS):
        # The search alone makes TOML errors of other people's files visible only where they matter.
        if _there(host) and not host.is_dir() and b"hpcdeploy" in _bytes(host):
            try:
                table = nested_table(_document(host), _IN_HOSTS)
            except ConfigError:
                if not boundary.holds(host):  # another project's manifest, of which nothing is quoted
                    continue
                check(host)
                raise
            if table is not None:
                check(host)
                boundary.check(host, f"the settings {host}", ConfigError)
                candidates.append((host, _IN_HOSTS, table))
    if len(candidates) > 1:
        names = " and in ".join(str(path) for path, _, _ in candidates)
        raise ConfigError(f"settings of hpcdeploy are in {names}; expected them in one file: keep one")
    return candidates[0] if candidates else None


def _layer(path: Path, schema: Table, raw: object, prefix: str = "") -> Layer:
    report = Report(file=str(path), prefix=prefix)
    values = read(schema, raw, report)
    report.close()
    return Layer(file=path, values=values, paths=report.paths, prefix=prefix)


def _document(path: Path) -> dict[str, object]:
    return parse_document(_bytes(path), str(path))


def _there(path: Path) -> bool:
    """Tell whether there is anything at `path`; where that cannot be asked (a closed folder on the way), there is not."""
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
    """Return `cluster` with the SSH configuration's path made absolute: ``~`` is home, else it is beside its file."""
    if cluster.ssh_config is None:
        return cluster
    if cluster.ssh_config == "~" or cluster.ssh_config.startswith("~/"):
        path = home_folder(environ) / cluster.ssh_config[2:]
    else:
        path = Path(origins[f"{joined('clusters', cluster.name)}.ssh-config"]).parent / cluster.ssh_config
    return replace(cluster, ssh_config=str(path))
