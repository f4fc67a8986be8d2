"""The views of a Spack environment: what ``view`` says in the manifest and in the files that it includes, and what is made.

Sources: ``Environment._process_view``, ``update_default_view`` and ``_default_view_as_yaml`` in
``lib/spack/spack/environment/environment.py``, ``lib/spack/spack/schema/view.py`` and ``ConfigScopePriority`` in
``lib/spack/spack/enums.py`` of Spack 1.2: ``view`` is a section like any other, so that included files may hold it and the
manifest wins; ``spack env view enable PATH`` writes into the manifest, and fails there where the view called ``default`` is
one of several and the manifest itself does not have it.
"""

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

from hpcdeploy.environments.spack_yaml import FALSE, TRUE, Table, named, overrides, plain_key, table, text_of
from hpcdeploy.errors import EnvironmentFileError

DEFAULT_VIEW = "/opt/view"
"""Where the view called ``default`` is in an image; the container's environment leads to it."""


@dataclass(frozen=True, kw_only=True)
class View:
    """What one file says: ``enabled`` (true, false), or ``path``, or ``named`` views with their roots.

    ``replaces`` is ``view::``.
    """

    enabled: bool | None = None
    path: str = ""
    named: tuple[tuple[str, str], ...] = ()
    replaces: bool = False


@dataclass(frozen=True, kw_only=True)
class ViewPlan:
    """The views of an image.

    ``default`` is whether there is one at `DEFAULT_VIEW`; ``option`` is the value of ``spack -c`` that puts it there where
    writing into the manifest would not do. ``roots`` are the absolute places of the other views that go into the image,
    ``lost`` the roots of those that do not. ``asked`` is what a file says of the default view's place; empty: nothing.
    """

    default: bool = True
    option: str = ""
    roots: tuple[tuple[str, str], ...] = ()
    lost: tuple[tuple[str, str], ...] = ()
    asked: str = ""


def read_view(given: Table, where: str) -> View | None:
    """Read ``view`` out of a file's table, None where it has none; `EnvironmentFileError` for what is not understood."""
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
            raise EnvironmentFileError(f"{where}: view.{key} has no root; write root: PATH there, as Spack demands")
        views.append((plain_key(key), text_of(root, f"{where}: view.{key}.root")))
    return View(named=tuple(views), replaces=replaces)


def plan_views(said: Sequence[View | None], environment: str) -> ViewPlan:
    """Plan the image's views from what the files say, highest first; `environment` is the environment's place in the image.

    Raises `EnvironmentFileError` where another view has the place of the default one.
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
            f"spack.yaml: the view {taken!r} is at {DEFAULT_VIEW}, where an image has the view 'default'; call it "
            "'default', or give it another root"
        )
    in_manifest = said[0] is first and "default" in dict(first.named)
    option = "" if in_manifest else f"view:default:root:{DEFAULT_VIEW}"
    return ViewPlan(option=option, roots=roots, lost=lost, asked=asked)


def _joined(said: Sequence[View | None]) -> dict[str, str]:
    """Join the named views of all files, as Spack joins tables: a higher one's root wins."""
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
