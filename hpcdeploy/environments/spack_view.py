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
"""The path of the view ``default`` in an image. The container's environment refers to this path."""


@frozen
class ViewSetting:
    """The value of ``view`` in one file.

    Attributes:
        enabled: The value if it is a boolean; otherwise None.
        path: The value if it is a path; otherwise empty.
        named: The names and roots of the views if the value is a table; otherwise empty.
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
        lost: The names and roots of views that the image does not contain, because a root starts with ``~`` or contains a
            variable.
        original: The path that the environment's files set for the default view; empty if no file sets it.
    """

    default: bool = True
    option: str = ""
    roots: tuple[tuple[str, str], ...] = ()
    lost: tuple[tuple[str, str], ...] = ()
    original: str = ""


def read_view(given: Table, where: str) -> ViewSetting | None:
    """Parse ``view`` in the table of a file; return None if ``view`` is not set.

    `where` is the name of the file, for messages.

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
            return ViewSetting(enabled=word in TRUE, replaces=replaces)
        return ViewSetting(path=value, replaces=replaces) if value else None
    views = []
    for key, inner in table(value, f"{where}: view").items():
        root = inner if isinstance(inner, str) else table(inner, f"{where}: view.{key}").get("root")
        if not root:
            raise EnvironmentFileError(f"{where}: view.{key} has no root; add root: PATH, which Spack requires")
        views.append((plain_key(key), text_of(root, f"{where}: view.{key}.root")))
    return ViewSetting(named=tuple(views), replaces=replaces)


def plan_views(settings: Sequence[ViewSetting | None], environment: str) -> ViewPlan:
    """Plan the image's views.

    Args:
        settings: The value of ``view`` in each file, highest precedence first; None for a file that does not set ``view``.
        environment: The environment's path in the image.

    Raises:
        EnvironmentFileError: A view that is not named ``default`` has the path `DEFAULT_VIEW`.
    """
    first = next((setting for setting in settings if setting is not None), None)
    if first is None or first.enabled:
        return ViewPlan()
    if first.enabled is False:
        return ViewPlan(default=False)
    if first.path:
        return ViewPlan(original=first.path)
    known = _joined(settings)
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
    in_manifest = settings[0] is first and "default" in dict(first.named)
    option = "" if in_manifest else f"view:default:root:{DEFAULT_VIEW}"
    return ViewPlan(option=option, roots=roots, lost=lost, original=original)


def _joined(settings: Sequence[ViewSetting | None]) -> dict[str, str]:
    """Return the roots of the named views of all files, by name; the file with the highest precedence decides each root."""
    roots: dict[str, str] = {}
    for setting in settings:
        if setting is None:
            continue
        if not setting.named:
            break
        roots = {**dict(setting.named), **roots}
        if setting.replaces:
            break
    return roots
