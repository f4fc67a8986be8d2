"""Limit what templates can access: a project's templates are code by other people.

A template gets text, numbers, booleans, and lists, tables and records of these. It can compute with them and include other
templates. It has no access to our objects, modules or functions except jinja's own filters, tests and globals and the
quoting filters. jinja's sandbox blocks the internals of Python's objects (Jinja documentation, "Sandbox"), but does not
limit time and memory.
"""

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import SimpleNamespace

from jinja2 import BaseLoader, BytecodeCache, Environment, StrictUndefined, TemplateNotFound, pass_context
from jinja2.loaders import split_template_path
from jinja2.sandbox import ImmutableSandboxedEnvironment

from hpcdeploy.boundary import Boundary
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
        filters: Filters in addition to jinja's own; they must be pure.
        compiled: The cache of compiled templates.
        is_markup: Tells by a template's name whether its values are escaped for HTML.
    """
    sandbox = ImmutableSandboxedEnvironment(
        loader=loader,
        undefined=StrictUndefined,
        # {{ X }} is Apptainer's build argument, << a here-document, [[ ]] a test: these delimiters conflict with none of
        # them.
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
        autoescape=is_markup,  # a choice by name
    )
    del sandbox.globals["lipsum"]  # random text, but the same values must result in the same text
    sandbox.globals["dict"] = _table  # jinja's is the class
    sandbox.filters.update({word: _never_folded(word_filter) for word, word_filter in filters.items()})
    return sandbox


def plain(value: object) -> object:
    """Return `value` for a template: a dataclass becomes a record of its fields without methods.

    Raises:
        TypeError: It is not a plain value, such as a path or a function, which templates must not get.
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

    Of the project's files only those in its template `folders` are templates, except hidden ones. Such a file may be a link
    to another file of the project (see `Boundary`).
    """

    def __init__(self, shipped: Path, project: Path | None, folders: Collection[str]) -> None:
        # In a checkout of hpcdeploy the project's templates may be the built-in ones, which are trusted like its code.
        own = None if project is None or project.resolve() == shipped.resolve() else project
        self.roots: Sequence[Path] = (own, shipped) if own else (shipped,)
        self._boundary = Boundary(own) if own else None
        self._folders = folders

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool] | None]:  # noqa: ARG002
        """Return a template's text and path, for jinja.

        Raises:
            TemplateError: The file is not readable or not allowed.
            ConfigError: Another user may have written it.
        """
        may_be_own = template.partition("/")[0] in self._folders and "/." not in template
        for root in self.roots if may_be_own else self.roots[-1:]:
            path = root.joinpath(*split_template_path(template))
            if not _exists(path):
                continue
            own = self._boundary if root is not self.roots[-1] else None
            text = read_template(path, own)
            if own:
                check_template(root, template)
            return text, str(path), None
        raise TemplateNotFound(template)


def check_template(root: Path, name: str) -> None:
    """Check that no other user can have written the template `name` in the project's folder `root`, or its folders.

    A missing template is accepted.

    Raises:
        ConfigError: Another user may have written it.
    """
    path = root / name
    if not os.path.lexists(path):
        return
    steps = [*reversed(path.relative_to(root).parents), Path(name)]  # the project's folder, the template folder, the file
    try:
        check_owned((root / step for step in steps), root, os.environ)
    except OSError:
        return  # a dangling link or an unreadable folder, which jinja2 reports


def read_template(path: Path, project: Boundary | None) -> str:
    """Return the text of a template file; `project` is given for a project's own template.

    Raises:
        TemplateError: It is outside the project, not a regular file, too large, or not UTF-8.
    """
    if project:
        project.check(path, f"the template {path}", TemplateError)
    try:
        return read_regular(path, LARGEST_TEXT).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"not UTF-8 text: {error}"
        raise TemplateError(f"the template {path} cannot be read: {reason}; correct it, or remove it") from error


def _exists(path: Path) -> bool:
    """Tell whether `path` exists; an inaccessible path counts as missing."""
    try:
        os.stat(path)  # noqa: PTH116 - faster
    except OSError:
        return False
    return True


def _table(first: Mapping[str, object] | Iterable[tuple[str, object]] = (), /, **more: object) -> dict[str, object]:
    return {**dict(first), **more}


def _never_folded(word_filter: Filter) -> Filter:
    """Call a filter only during rendering: jinja2 would evaluate it for constants and store the result in the cache."""
    return pass_context(lambda _context, *values: word_filter(*values))
