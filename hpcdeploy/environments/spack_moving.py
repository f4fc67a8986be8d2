"""Find references of a Spack environment that may change over time: versions that are branches, and git branches.

Sources: ``infinity_versions`` and ``is_git_version`` in ``lib/spack/spack/version/common.py`` of Spack 1.2;
``lib/spack/spack/schema/include.py`` and ``repos.py`` there; its documentation, "Spec syntax", "Version specifier" and
"Include Settings".
"""

import re
from collections.abc import Mapping

from hpcdeploy.environments.spack_specs import package_of

_BRANCHES = frozenset({"develop", "main", "master", "head", "trunk", "nightly", "stable"})
_VERSIONS = re.compile(r"@=?([^\s+~%^]+)")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PINNED = re.compile(r"(?:^|\s)commit==?['\"]?[0-9a-f]{40}\b")


def moving_versions(spec: str, package: str = "") -> tuple[str, ...]:
    """Return the versions in a spec that follow a branch or another git reference, such as ``hdf5@develop``.

    A commit does not change, nor does a version with ``commit=``. `package` is the subject of an anonymous spec.
    """
    found = []
    for node in re.split(r"(?=[\^%])", spec):
        match = _VERSIONS.search(node)
        if match and not _PINNED.search(node):
            name = package_of(node.lstrip("^% ")) or package
            found += [f"{name}@{version}" for version in match[1].split(",") if _moves(version)]
    return tuple(dict.fromkeys(found))


def moving_repository(given: Mapping[str, object]) -> str:
    """Return what a git repository's table (``repos``, ``include``) follows; empty for a commit or a tag."""
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
