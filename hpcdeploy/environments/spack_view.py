"""Plan the views of a Spack environment, from ``view`` in the manifest and in the files that it includes.

Sources: ``Environment._process_view``, ``update_default_view`` and ``_default_view_as_yaml`` in
``lib/spack/spack/environment/environment.py``, ``lib/spack/spack/schema/view.py`` and ``ConfigScopePriority`` in
``lib/spack/spack/enums.py`` of Spack 1.2. Included files may have the section ``view``, but the manifest takes precedence.
``spack env view enable PATH`` writes to the manifest. It fails if there are several views and ``default`` is not in the
manifest itself.
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
        replaces: The key is ``view::``, so that lower scopes are ignored.
    """

    enabled: bool | None = None
    path: str = ""
    named: tuple[tuple[str, str], ...] = ()
    replaces: bool = False


@frozen
class ViewPlan:
    """The views of an image.

    Attributes:
        default: The image has a view at `DEFAULT_VIEW`.
        option: The value of ``spack -c`` that sets the path of the default view; empty if the build can write this path to
            the manifest instead.
        roots: The names of other views, with their absolute paths in the image.
        lost: The names and roots of views that the image does not contain.
        asked: The path of the default view in the file that sets it; empty if no file does.
    """

    default: bool = True
    option: str = ""
    roots: tuple[tuple[str, str], ...] = ()
    lost: tuple[tuple[str, str], ...] = ()
    asked: str = ""


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


def plan_views(said: Sequence[View | None], environment: str) -> ViewPlan:
    """Plan the image's views from all files, highest precedence first; `environment` is the environment's path in the image.

    Raises:
        EnvironmentFileError: Another view has the path of the default one.
    """
    first = next((view for view in said if view is not None), None)
    if first is None or first.enabled:
        return ViewPlan()
    if first.enabled is False:
        return ViewPlan(default=False)
    if first.path:
        return ViewPlan(asked=first.path)
    views = _joined(said)
    asked = views.pop("default", "")
    lost = tuple((name, root) for name, root in views.items() if root.startswith("~") or "$" in root)
    roots = tuple(
        (name, posixpath.normpath(posixpath.join(environment, root)))
        for name, root in views.items()
        if (name, root) not in lost
    )
    taken = next((name for name, root in roots if root == DEFAULT_VIEW), "")
    if taken:
        raise EnvironmentFileError(
            f"spack.yaml: the view {taken!r} is at {DEFAULT_VIEW}, which an image uses for the view 'default'; name it "
            "'default', or use another root"
        )
    in_manifest = said[0] is first and "default" in dict(first.named)
    option = "" if in_manifest else f"view:default:root:{DEFAULT_VIEW}"
    return ViewPlan(option=option, roots=roots, lost=lost, asked=asked)


def _joined(said: Sequence[View | None]) -> dict[str, str]:
    """Join the named views of all files as Spack joins tables, so that the root with the highest precedence is used."""
    views: dict[str, str] = {}
    for view in said:
        if view is None:
            continue
        if not view.named:
            break
        views = {**dict(view.named), **views}
        if view.replaces:
            break
    return views
