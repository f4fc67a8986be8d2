"""Limit what templates can access, because a project's templates may come from other people.

A template gets text, numbers, booleans, and lists, tables and records of these values. A template can compute with these
values, and include other templates. It can call the filters, tests and globals of jinja, and the quoting filters, but no
other function, module or object of hpcdeploy. jinja's sandbox blocks the internals of Python's objects (Jinja
documentation, "Sandbox"). The sandbox does not limit time and memory.
"""

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import SimpleNamespace

from jinja2 import BaseLoader, BytecodeCache, Environment, StrictUndefined, TemplateNotFound, pass_context
from jinja2.loaders import split_template_path
from jinja2.sandbox import ImmutableSandboxedEnvironment

from hpcdeploy.boundary import Boundary, followed
from hpcdeploy.errors import TemplateError
from hpcdeploy.ownership import check_owned
from hpcdeploy.regular_file import LARGEST_TEXT, read_regular

Filter = Callable[..., str]


def environment(
    loader: BaseLoader,
    filters: Mapping[str, Filter],
    *,
    compiled: BytecodeCache,
    is_markup: Callable[[str | None], bool],
) -> Environment:
    """Return the sandbox in which templates are rendered.

    Args:
        loader: Finds the templates.
        filters: Filters in addition to those of jinja. The result of a filter must depend only on its arguments.
        compiled: The cache of compiled templates.
        is_markup: Returns whether values are escaped for HTML in the template with the name in its argument.
    """
    sandbox = ImmutableSandboxedEnvironment(
        loader=loader,
        undefined=StrictUndefined,
        # These delimiters conflict neither with {{ X }}, a build argument of Apptainer, nor with a here-document (<<) or a
        # test ([[ ]]) of a shell.
        block_start_string="[%",
        block_end_string="%]",
        variable_start_string="[=",
        variable_end_string="=]",
        comment_start_string="[#",
        comment_end_string="#]",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        bytecode_cache=compiled,
        autoescape=is_markup,
    )
    del sandbox.globals["lipsum"]  # it returns random text, but the same values must result in the same text
    sandbox.globals["dict"] = _table  # jinja's global is the class `dict` itself
    sandbox.filters.update({word: _never_folded(word_filter) for word, word_filter in filters.items()})
    return sandbox


def plain(value: object) -> object:
    """Return `value` for a template; a dataclass becomes an object that has only the dataclass's fields.

    Raises:
        TypeError: `value` is not plain. For example, templates must not get a path or a function.
    """
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, Mapping):
        return {plain(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    if isinstance(value, list):
        return list(map(plain, value))
    if is_dataclass(value) and not isinstance(value, type):
        return SimpleNamespace(**{field.name: plain(getattr(value, field.name)) for field in fields(value)})
    raise TypeError(f"templates only accept plain values, not {value!r}, a {type(value).__name__}")


class TemplateFiles(BaseLoader):
    """Find templates in the project's folder, and then among the built-in ones.

    - A template is a file in one of the template `folders`, or in one of the `library` folders, whose files a project cannot
      replace. Other files are ignored, because in a checkout of hpcdeploy the built-in templates are next to all other
      files.
    - Hidden files are ignored.
    - A project's template may be a link to another file of the project (see `Boundary`).
    - A built-in template may be a link to a file with the same name, because some installers create such links.
    """

    def __init__(
        self, shipped: Path, project: Path | None, folders: Collection[str], *, library: Collection[str] = ()
    ) -> None:
        # In a checkout of hpcdeploy the project's templates may be the built-in ones, which are trusted like hpcdeploy's
        # code.
        overrides = None if project is None or project.resolve() == shipped.resolve() else project
        self.roots: Sequence[Path] = (overrides, shipped) if overrides else (shipped,)
        self._boundary = Boundary(overrides) if overrides else None
        self._folders = folders
        self._shipped_folders = frozenset((*folders, *library))

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool] | None]:  # noqa: ARG002
        """Return a template's text and path, for jinja.

        Raises:
            jinja2.TemplateNotFound: There is no such template.
            TemplateError: The file cannot be read, or the project may not use it.
            ConfigError: Another user may have written the file.
        """
        steps = split_template_path(template)
        for root in self.roots:
            path = root.joinpath(*steps)
            boundary = self._boundary if root is not self.roots[-1] else None
            if not self._is_template(steps, self._folders if boundary else self._shipped_folders) or not _exists(path):
                continue
            if not boundary and not self._is_shipped(path, steps):
                continue
            text = read_template(path, boundary)
            if boundary:
                check_template(root, template)
            return text, str(path), None
        raise TemplateNotFound(template)

    @staticmethod
    def _is_template(steps: Sequence[str], folders: Collection[str]) -> bool:
        return len(steps) > 1 and steps[0] in folders and not any(step.startswith(".") for step in steps)

    def _is_shipped(self, path: Path, steps: Sequence[str]) -> bool:
        """Tell whether the file `path` is a built-in template; `steps` are the components of the template's name.

        After all links are followed, the file's path must be in one of the built-in template folders, or end with `steps`.
        """
        real, root = followed(path), followed(self.roots[-1])
        in_root = real.relative_to(root).parts if real.is_relative_to(root) else ()
        return self._is_template(in_root, self._shipped_folders) or list(real.parts[-len(steps) :]) == list(steps)


def check_template(root: Path, name: str) -> None:
    """Check that no other user can have written or replaced the template `name` in the project's folder `root`.

    A missing template is accepted.

    Raises:
        ConfigError: Another user may have written the template, or may write one of the folders that contain it.
    """
    path = root / name
    if not os.path.lexists(path):
        return
    steps = [*reversed(path.relative_to(root).parents), Path(name)]  # the project's folder, the template folder, the file
    try:
        check_owned((root / step for step in steps), root, os.environ)
    except OSError:
        return  # the path is a dangling link, or a folder cannot be read; reading the template will report this


def read_template(path: Path, project: Boundary | None) -> str:
    """Return the text of a template file.

    Args:
        path: The path of the file.
        project: The files that the project may use, which must include the file; None for a built-in template.

    Raises:
        TemplateError: The project may not use the file, or the file is not a regular file, too large, or not UTF-8.
    """
    if project:
        project.check(path, f"the template {path}", TemplateError)
    try:
        return read_regular(path, LARGEST_TEXT).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"not UTF-8 text: {error}"
        raise TemplateError(f"the template {path} cannot be read: {reason}; correct it, or remove it") from error


def _exists(path: Path) -> bool:
    """Tell whether `path` exists; false also if its status cannot be read."""
    try:
        os.stat(path)  # noqa: PTH116 - faster
    except OSError:
        return False
    return True


def _table(first: Mapping[str, object] | Iterable[tuple[str, object]] = (), /, **more: object) -> dict[str, object]:
    return {**dict(first), **more}


def _never_folded(word_filter: Filter) -> Filter:
    """Return a filter that jinja2 calls only while it renders a template.

    Otherwise jinja2 would call the filter for constants while it compiles a template, and store the result in the cache.
    """
    return pass_context(lambda _context, *values: word_filter(*values))
