"""The template files of a project and of hpcdeploy: what another user could have written is refused."""

import os
from collections.abc import Callable, Collection
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from hpcdeploy.ownership import check_owned


class TemplateFiles(FileSystemLoader):
    """Loads a template from the project's folder `own`, where it has one of that name, else from `shipped`.

    Of the project's files only those in its template `folders` are templates, hidden ones left out. Raises `ConfigError` for
    a file or template folder of the project that somebody else may have written (`hpcdeploy.ownership`).
    """

    def __init__(self, own: Path | None, shipped: Path, folders: Collection[str]) -> None:
        super().__init__([str(root) for root in (own, shipped) if root])
        # In a checkout of hpcdeploy the project's templates may be the shipped ones: like its code, the installation's.
        self._own = None if own is None or own.resolve() == shipped.resolve() else own
        self._shipped = FileSystemLoader(str(shipped))
        self._folders = folders

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        """Return the template's text, its file, and whether that is still the same."""
        if template.partition("/")[0] not in self._folders or "/." in template:
            return self._shipped.get_source(environment, template)
        if self._own:
            check_template(self._own, template)
        return super().get_source(environment, template)


def check_template(root: Path, name: str) -> None:
    """Refuse the template `name` in the project's folder `root` if somebody else may have written it, or put it there.

    One that is not there is none. Raises `ConfigError`.
    """
    path = root / name
    if not os.path.lexists(path):
        return
    steps = [*reversed(path.relative_to(root).parents), Path(name)]  # the project's folder, the template folder, the file
    try:
        check_owned((root / step for step in steps), root, os.environ)
    except OSError:
        return  # a link to nothing, or a folder that cannot be looked into: jinja2 says so
