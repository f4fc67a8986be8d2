"""Plan the views of a Spack environment, from ``view`` in the manifest and in the files that it includes.

Sources: ``Environment._process_view``, ``update_default_view`` and ``_default_view_as_yaml`` in
``lib/spack/spack/environment/environment.py``, ``lib/spack/spack/schema/view.py`` and ``ConfigScopePriority`` in
``lib/spack/spack/enums.py`` of Spack 1.2. Included files may have the section ``view``, but the manifest takes precedence. A
build sets the path of the default view with ``spack env view enable PATH``, which writes the path to the manifest. This
command fails if there are several views and ``default`` is not in the manifest. In this case the build passes the path to
Spack as an option.
"""

import posixpath
from collections.abc import Sequence

from hpcdeploy.environments.spack_yaml import FALSE, TRUE, Table, named, overrides, plain_key, table, text_of
from hpcdeploy.errors import EnvironmentFileError
from hpcdeploy.frozen import frozen

DEFAULT_VIEW = "/opt/view"
"""The path of the view ``default`` in an image; the container's environment refers to it."""


@frozen
class View:
    """The view of one file.

    Attributes:
        enabled: The value if it is a boolean; otherwise None.
        path: The value if it is a path; otherwise empty.
        named: The names and roots of named views.
        replaces: Whether the key is ``view::``, so that Spack ignores lower scopes.
    """

    enabled: bool | None = None
    path: str = ""
    named: tuple[tuple[str, str], ...] = ()
    replaces: bool = False


@frozen
class ViewPlan:
    """The views of an image.

    Attributes:
        default: Whether the image has a view at `DEFAULT_VIEW`.
        option: The value of ``spack -c`` that sets the path of the default view; empty if the build writes the path to the
            manifest.
        roots: The names of other views, with their absolute paths in the image.
        lost: The names and roots of views that the image does not contain.
        original: The path that the environment's files set for the default view; empty if no file sets it.
    """

    default: bool = True
    option: str = ""
    roots: tuple[tuple[str, str], ...] = ()
    lost: tuple[tuple[str, str], ...] = ()
    original: str = ""


def read_view(given: Table, where: str) -> View | None:
    """Parse ``view`` in a file's table; return None if it is not set.

    Raises:
        EnvironmentFileError: The value is malformed.
    """
    value = named(given, "view")
    if value is None:
        return None
    replaces = overrides(given, "view")
    if isinstance(value, str):
        word = value.lower()
        if word in TRUE | FALSE:
            return View(enabled=word in TRUE, replaces=replaces)
        return View(path=value, replaces=replaces) if value else None
    views = []
    for key, inner in table(value, f"{where}: view").items():
        root = inner if isinstance(inner, str) else table(inner, f"{where}: view.{key}").get("root")
        if not root:
            raise EnvironmentFileError(f"{where}: view.{key} has no root; add root: PATH, which Spack requires")
        views.append((plain_key(key), text_of(root, f"{where}: view.{key}.root")))
    return View(named=tuple(views), replaces=replaces)


def plan_views(views: Sequence[View | None], environment: str) -> ViewPlan:
    """Plan the image's views.

    Args:
        views: The view of each file, highest precedence first; None for a file that does not set ``view``.
        environment: The environment's path in the image.

    Raises:
        EnvironmentFileError: Another view has the path of the default view.
    """
    first = next((view for view in views if view is not None), None)
    if first is None or first.enabled:
        return ViewPlan()
    if first.enabled is False:
        return ViewPlan(default=False)
    if first.path:
        return ViewPlan(original=first.path)
    known = _joined(views)
    original = known.pop("default", "")
    lost = tuple((name, root) for name, root in known.items() if root.startswith("~") or "$" in root)
    roots = tuple(
        (name, posixpath.normpath(posixpath.join(environment, root)))
        for name, root in known.items()
        if (name, root) not in lost
    )
    taken = next((name for name, root in roots if root == DEFAULT_VIEW), "")
    if taken:
        raise EnvironmentFileError(
            f"spack.yaml: the view {taken!r} is at {DEFAULT_VIEW}, which an image uses for the view 'default'; name it "
            "'default', or use another root"
        )
    in_manifest = views[0] is first and "default" in dict(first.named)
    option = "" if in_manifest else f"view:default:root:{DEFAULT_VIEW}"
    return ViewPlan(option=option, roots=roots, lost=lost, original=original)


def _joined(views: Sequence[View | None]) -> dict[str, str]:
    """Return the roots of the named views of all files, by name; the file with the highest precedence decides each root."""
    roots: dict[str, str] = {}
    for view in views:
        if view is None:
            continue
        if not view.named:
            break
        roots = {**dict(view.named), **roots}
        if view.replaces:
            break
    return roots
