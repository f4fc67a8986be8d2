"""Find references of a Spack environment that may change over time: versions that are branches, and git branches.

Sources: ``infinity_versions`` and ``is_git_version`` in ``lib/spack/spack/version/common.py`` of Spack 1.2;
``lib/spack/spack/schema/include.py`` and ``repos.py`` there; its documentation, "Spec syntax", "Version specifier" and
"Include Settings".
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from hpcdeploy.environments.spack_specs import package_of
from hpcdeploy.environments.spack_yaml import Table, listed, named, plain_key, table, text_of, texts, truth
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.frozen import frozen

_BRANCHES = frozenset({"develop", "main", "master", "head", "trunk", "nightly", "stable"})
_VERSIONS = re.compile(r"@=?([^\s+~%^]+)")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PINNED = re.compile(r"(?:^|\s)commit==?['\"]?[0-9a-f]{40}\b")


def moving_versions(spec: str, package: str = "") -> tuple[str, ...]:
    """Return the versions in a spec that follow a branch or another git reference, such as ``hdf5@develop``.

    A commit, or a version with ``commit=``, does not follow a branch. `package` is the package's name for an anonymous
    spec, such as ``@develop``.
    """
    found = []
    for node in re.split(r"(?=[\^%])", spec):
        match = _VERSIONS.search(node)
        if match and not _PINNED.search(node):
            name = package_of(node.lstrip("^% ")) or package
            found += [f"{name}@{version}" for version in match[1].split(",") if _moves(version)]
    return tuple(dict.fromkeys(found))


def moving_repository(given: Mapping[str, object]) -> str:
    """Describe the branch that a git repository's table (``repos``, ``include``) follows; empty for a commit or a tag."""
    if given.get("commit") or given.get("tag"):
        return ""
    branch = given.get("branch")
    return f"branch {branch}" if isinstance(branch, str) and branch else "its default branch"


def _moves(version: str) -> bool:
    name, _, _ = version.partition("=")
    if ":" in name:
        return False
    if name.startswith("git."):
        return not _COMMIT.fullmatch(name.removeprefix("git."))
    return name in _BRANCHES


_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|[\w.-]+@[\w.-]+:")


_SECRET_IN_URL = re.compile(r"(?<=://)[^/@\s]*@")
_PLATFORM = re.compile(r"platform\s*==\s*['\"](\w+)['\"]")
_LOCK = "spack.lock"


@frozen
class Reference:
    """A file or folder that a configuration file refers to, relative to that file's folder.

    Attributes:
        kind: ``include``, ``repo``, ``develop``, or ``concrete`` for the folder of another environment with an included lock
            file.
        path: The path. If it has a variable that only the build knows (``$os``), the folder before that variable.
        required: Whether the file must exist.
        when: The condition under which Spack includes the file. For a path with a variable, a text about the path.
        key: The key in the configuration file that contains the path, for messages.
        written: The path as it is written in the configuration file, for messages.
    """

    kind: str
    path: str
    required: bool = True
    when: str = ""
    key: str = ""
    written: str = ""


@frozen
class References:
    """All references of one file, without credentials.

    Attributes:
        here: References relative to the file.
        elsewhere: Paths that start outside the environment (``/``, ``~``, a variable).
        fetched: Configuration files that Spack downloads during the build.
        moving: References that may change: git branches, and URLs without a checksum.
    """

    here: tuple[Reference, ...] = ()
    elsewhere: tuple[str, ...] = ()
    fetched: tuple[str, ...] = ()
    moving: tuple[str, ...] = ()


@frozen
class _Remote:
    """A remote reference.

    Attributes:
        address: The URL without credentials.
        moves: The reason why the content may change; empty if a checksum, commit or tag fixes it.
        configuration: Whether the reference is to a configuration file that Spack downloads, not to a repository of
            packages.
    """

    address: str
    moves: str = ""
    configuration: bool = True


def read_references(given: Table, where: str) -> References:
    """Parse the references in a file.

    Args:
        given: The file's top-level table.
        where: The name of the file, for messages.

    Raises:
        EnvironmentFileError: An entry is malformed.
    """
    found = [
        *(*_included(given, where), *_concrete(given, where), *_repos(given, where), *_developed(given, where)),
        *_reused(given, where),
    ]
    remote = [item for item in found if isinstance(item, _Remote)]
    return References(
        here=tuple(item for item in found if isinstance(item, Reference)),
        elsewhere=tuple(item for item in found if isinstance(item, str)),
        fetched=tuple(item.address for item in remote if item.configuration),
        moving=tuple(f"{item.address} ({item.moves})" for item in remote if item.moves),
    )


def is_never(when: str) -> bool:
    """Tell whether a condition cannot be true in an image, because it requires another platform than Linux."""
    return bool(_PLATFORM.fullmatch(when))


def _included(given: Table, where: str) -> Iterator[Reference | _Remote | str]:
    value = named(given, "include")
    for item in [value] if isinstance(value, str) and value else listed(value, f"{where}: include"):
        entry: Table = {"path": item} if isinstance(item, str) else table(item, f"{where}: include")
        if "git" in entry:
            yield _Remote(address=_shown(text_of(entry["git"], f"{where}: include.git")), moves=moving_repository(entry))
            continue
        path = text_of(entry.get("path"), f"{where}: include.path")
        if not path:
            raise EnvironmentFileError(f"{where}: include has an entry without path or git: {', '.join(entry)}")
        when = text_of(entry.get("when"), f"{where}: include.when").strip()
        required = not truth(entry.get("optional"), f"{where}: include.optional", default=False) and not when
        platform = _PLATFORM.fullmatch(when)
        when = "" if platform and platform[1] == "linux" else when
        if _is_remote(path):
            yield _Remote(address=_shown(path), moves="" if entry.get("sha256") else "without sha256")
        elif path.rpartition("/")[2] == _LOCK:
            for found in _reference("concrete", path.rpartition("/")[0] or ".", "include", required=required, when=when):
                yield replace(found, written=path) if isinstance(found, Reference) else found
        else:
            yield from _reference("include", path, "include", required=required, when=when)


def _concrete(given: Table, where: str) -> Iterator[Reference | str]:
    """Yield the environments of ``include_concrete``: folders, or names of environments that Spack manages."""
    for path in texts(named(given, "include_concrete"), f"{where}: include_concrete"):
        if "/" in path or path.startswith("."):
            yield from _reference("concrete", path, "include_concrete", required=True)
        else:
            yield path


def _repos(given: Table, where: str) -> Iterator[Reference | _Remote | str]:
    value = named(given, "repos")
    entries = value if isinstance(value, list) else list(table(value, f"{where}: repos").values())
    for item in entries:
        if isinstance(item, str):
            if not _is_remote(item):
                yield from _reference("repo", item, "repos", required=True)
            continue
        given_repo = table(item, f"{where}: repos")
        if "git" in given_repo:
            address = _shown(text_of(given_repo["git"], f"{where}: repos.git"))
            yield _Remote(address=address, moves=moving_repository(given_repo), configuration=False)
        else:
            raise EnvironmentFileError(f"{where}: repos has an entry that is neither a path nor has git: {item!r}")


def _developed(given: Table, where: str) -> Iterator[Reference | str]:
    for name, value in table(named(given, "develop"), f"{where}: develop").items():
        path = text_of(table(value, f"{where}: develop.{name}").get("path"), f"{where}: develop.{name}.path")
        yield from _reference("develop", path or plain_key(name), "develop", required=True)


def _reused(given: Table, where: str) -> Iterator[str]:
    """Yield the environments whose packages the concretizer may reuse (``concretizer: reuse: from``)."""
    reuse = named(table(named(given, "concretizer"), f"{where}: concretizer"), "reuse")
    for item in listed(named(reuse, "from"), f"{where}: concretizer.reuse.from") if isinstance(reuse, dict) else []:
        path = text_of(table(item, f"{where}: concretizer.reuse.from").get("path"), f"{where}: concretizer.reuse.from")
        if path:
            yield path


def _reference(kind: str, path: str, key: str, *, required: bool, when: str = "") -> Iterator[Reference | str]:
    """Yield a `Reference` for a path relative to its file, and the path itself if it starts elsewhere.

    Yield nothing for a URL, because it has no file to copy.
    """
    if _is_remote(path):
        return
    local = re.sub(r"^\$(?:env|\{env\})/", "", path.removeprefix("file://"))
    if local.startswith(("/", "~", "$")):
        yield path
        return
    fixed = local.split("$", 1)[0]
    if fixed == local:
        yield Reference(kind=kind, path=local, required=required, when=when, key=key, written=path)
    else:
        folder = fixed.rpartition("/")[0] or "."
        condition = when or f"the path is {path}"
        yield Reference(kind=kind, path=folder, required=required, when=condition, key=key, written=path)


def _is_remote(path: str) -> bool:
    return bool(_REMOTE.match(path)) and not path.startswith("file://")


def _shown(address: str) -> str:
    """Return a URL without user, password, query and fragment."""
    return re.split(r"[?#]", _SECRET_IN_URL.sub("", address), maxsplit=1)[0]
