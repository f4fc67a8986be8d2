"""Find and read the settings files.

There are three files:

- the project's file: ``hpcdeploy.toml``, or ``[tool.hpcdeploy]`` in ``pixi.toml`` or ``pyproject.toml``;
- the user's file with clusters: ``$XDG_CONFIG_HOME/hpcdeploy/config.toml``;
- the lab's file, which exists while the lab runs: ``$XDG_STATE_HOME/hpcdeploy/lab/cluster.toml``.

If the user's file and the lab's file set the same key, the user's value is used. If one of these two files describes a
cluster, a project may set only the cluster's job defaults.
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
from hpcdeploy.config.schema import CLUSTERS_FILE, PROJECT_FILE, USER_FILE
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
    """Read the settings for `folder`: the project's file in `folder` or the nearest folder above, and the clusters' files.

    Args:
        folder: The folder where the search for the project's file begins.
        environ: The environment variables, which set the paths of the other files.
        optional: If there is no project file, return the clusters only instead of raising an error.

    Raises:
        ConfigError: In one of these cases:

            - There is no project file, and `optional` is false.
            - A file cannot be read, or another user can have written it (`hpcdeploy.ownership`).
            - Settings are invalid; the message lists all problems of one file.
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
    for path, schema in ((lab_file(environ), CLUSTERS_FILE), (user_file(environ), USER_FILE)):
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
    """Return the folder of the project that contains `folder`; None if `folder` is not in a project.

    The settings are not checked, so that the record of runs can be read even if the settings are invalid.
    """
    start = folder.absolute()
    return next((above for above in (start, *start.parents) if _has_settings(above)), None)


def _has_settings(folder: Path) -> bool:
    if _there(folder / PROJECT_FILE_NAME):
        return True
    try:
        return settings_in(folder) is not None
    except ConfigError:  # a file of this project has an error; `settings_in` ignores errors in files of other projects
        return True


def token_services(environ: Mapping[str, str] = os.environ) -> Mapping[str, str]:
    """Return the token services that the user allows, by the host of the registry.

    A token service is a host that issues tokens for a registry on another host. Only the user's file can allow a token
    service, because hpcdeploy sends the registry's password to this host. If projects could allow one, a project could send
    the password to any host.

    Raises:
        ConfigError: The user's file cannot be read or is invalid, or another user can have written it.
    """
    path = user_file(environ)
    if _there(path):
        check_owned((path.parent, path), path.parent, environ)
    values = _layer(path, USER_FILE, _document(path)).values if _there(path) else {}
    return {host.lower(): registry["token-service"] for host, registry in values.get("registries", {}).items()}


def read_sweep(sweep: SweepFile, root: Path, environ: Mapping[str, str] = os.environ, *, of_project: bool = True) -> Array:
    """Read the parameters of a sweep from a file whose path is relative to `root`, or starts with ``/`` or ``~/``.

    If the project names the file (`of_project`) and the file is a link to a target outside of the project, the target must
    have the same suffix as the link. Otherwise a project could show the content of any file, because messages quote invalid
    parameters. The caller lets the user confirm files outside of the project (`hpcdeploy.config.named_files`).

    Raises:
        ConfigError: The file cannot be read or is invalid, or is a link that must not be followed. The message has the
            file, and the line of an invalid parameter.
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


def user_file(environ: Mapping[str, str]) -> Path:
    """Return the path of the user's own settings file. Its clusters are available in all projects."""
    return config_folder(environ) / "config.toml"


def lab_file(environ: Mapping[str, str]) -> Path:
    """Return the path of the file that describes the lab's clusters while the lab runs."""
    return state_folder(environ) / "lab" / "cluster.toml"


def settings_in(folder: Path, check: Callable[[Path], None] = lambda _file: None) -> tuple[Path, str, object] | None:
    """Return the settings in `folder`: their file, the prefix of their keys in it, and their table; None without settings.

    Args:
        folder: The folder to search; the folders above it are not searched.
        check: A function that raises `ConfigError` for a file that must not be used.

    Raises:
        ConfigError: In one of these cases:

            - Several files have settings.
            - A file cannot be read or is malformed. There is one exception: a malformed ``pixi.toml`` or ``pyproject.toml``
              that is a link out of the project is ignored. The message would quote a file of another project.
            - The file with the settings is a link out of the project.
            - `check` raised the error.
    """
    boundary = Boundary(folder)
    candidates: list[tuple[Path, str, object]] = []
    own = folder / PROJECT_FILE_NAME
    if _there(own):
        check(own)
        boundary.check(own, f"the settings {own}", ConfigError)
        candidates.append((own, "", _document(own)))
    for host in (folder / name for name in HOSTS):
        # Files without the word "hpcdeploy" are not parsed, so that errors in files of other tools are not reported.
        if _there(host) and not host.is_dir() and b"hpcdeploy" in _bytes(host):
            try:
                table = nested_table(_document(host), _IN_HOSTS)
            except ConfigError:
                if not boundary.holds(host):  # a file of another project, which the message would quote
                    continue
                check(host)
                raise
            if table is not None:
                check(host)
                boundary.check(host, f"the settings {host}", ConfigError)
                candidates.append((host, _IN_HOSTS, table))
    if len(candidates) > 1:
        names = " and in ".join(str(path) for path, _, _ in candidates)
        raise ConfigError(f"settings of hpcdeploy are in {names}; expected one file: remove the settings from the others")
    return candidates[0] if candidates else None


def _layer(path: Path, schema: Table, raw: object, prefix: str = "") -> Layer:
    report = Report(file=str(path), prefix=prefix)
    values = read(schema, raw, report)
    report.raise_problems()
    return Layer(file=path, values=values, paths=report.paths, prefix=prefix)


def _document(path: Path) -> dict[str, object]:
    return parse_document(_bytes(path), str(path))


def _there(path: Path) -> bool:
    """Tell whether `path` exists; False if it is inaccessible."""
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
    """Return `cluster` with an absolute path of its SSH configuration.

    ``~`` in the path is the home folder. A relative path is relative to the folder of the settings file that sets it.
    """
    if cluster.ssh_config is None:
        return cluster
    if cluster.ssh_config == "~" or cluster.ssh_config.startswith("~/"):
        path = home_folder(environ) / cluster.ssh_config[2:]
    else:
        path = Path(origins[f"{joined('clusters', cluster.name)}.ssh-config"]).parent / cluster.ssh_config
    return replace(cluster, ssh_config=str(path))
