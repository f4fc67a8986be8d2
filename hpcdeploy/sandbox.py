"""What a template may reach, and where it is read from: a project's templates are code that others wrote.

A template gets text, numbers, truth values, and lists, tables and records of these. It can compute with them and include
other templates; it reaches no object of ours, no module, no function but jinja's own filters, tests and globals and the
filters that quote. jinja's sandbox keeps it from the insides of Python's objects (Jinja documentation, "Sandbox"). What no
sandbox of jinja's does is to limit time and memory.
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
from hpcdeploy.errors import HpcdeployError, TemplateError
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
    """Return the sandbox that templates are rendered in.

    Args:
        loader: Finds the templates.
        filters: Filters besides jinja's own, which must be pure.
        compiled: Keeps compiled templates.
        is_markup: Tells by a template's name whether its values are escaped for HTML.
    """
    sandbox = ImmutableSandboxedEnvironment(
        loader=loader,
        undefined=StrictUndefined,
        # {{ X }} is Apptainer's build argument, << is a here-document, [[ ]] a test: brackets clash with none.
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
    del sandbox.globals["lipsum"]  # random text: the same values make the same text
    sandbox.globals["dict"] = _table  # jinja's is the class
    sandbox.filters.update({word: _never_folded(word_filter) for word, word_filter in filters.items()})
    return sandbox


def plain(value: object) -> object:
    """Return `value` as a template gets it: a record for a dataclass, with its fields and without its methods.

    Raises TypeError for what is no plain value, such as a path or a function: a template must not get it.
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
    raise TypeError(f"a template was to get {value!r}, a {type(value).__name__}, and may get plain values only")


class TemplateFiles(BaseLoader):
    """Finds templates in the project's folder, where there is one, and then among the shipped ones.

    Only files in the template `folders` are templates, hidden ones left out: in a checkout of hpcdeploy the shipped ones
    have everything else of it beside them. A project's template may be a link, as long as it leads to a file of the
    project (see `Boundary`); a shipped one, to a template, as installers leave links that keep the names.
    """

    def __init__(self, shipped: Path, project: Path | None, folders: Collection[str]) -> None:
        # In a checkout of hpcdeploy the project's templates may be the shipped ones: like its code, the installation's.
        own = None if project is None or project.resolve() == shipped.resolve() else project
        self.roots: Sequence[Path] = (own, shipped) if own else (shipped,)
        self._boundary = Boundary(own) if own else None
        self._folders = folders

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool] | None]:  # noqa: ARG002
        """Return the text of a template and its path, as jinja wants it.

        Raises `TemplateError` for a file that is not read, `ConfigError` for one that another user may have written.
        """
        steps = split_template_path(template)
        for root in self.roots if self._is_template(steps) else ():
            path = root.joinpath(*steps)
            own = self._boundary if root is not self.roots[-1] else None
            if not _exists(path) or not (own or self._is_shipped(path, steps)):
                continue
            text = read_template(path, own)
            if own:
                check_template(root, template)
            return text, str(path), None
        raise TemplateNotFound(template)

    def _is_template(self, steps: Sequence[str]) -> bool:
        return len(steps) > 1 and steps[0] in self._folders and not any(step.startswith(".") for step in steps)

    def _is_shipped(self, path: Path, steps: Sequence[str]) -> bool:
        real, root = followed(path), followed(self.roots[-1])
        in_root = real.relative_to(root).parts if real.is_relative_to(root) else ()
        return self._is_template(in_root) or list(real.parts[-len(steps) :]) == list(steps)


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


def read_template(path: Path, project: Boundary | None) -> str:
    """Return the text of a template file; `project` is that of a project's own one.

    Raises `TemplateError` where it leads out of the project, is no regular file, is too large, or is no UTF-8 text.
    """
    if project:
        check_place(path, project, f"the template {path}", TemplateError)
    try:
        return read_regular(path, LARGEST_TEXT).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"not UTF-8 text: {error}"
        raise TemplateError(f"the template {path} cannot be read: {reason}; correct it, or remove it") from error


def check_place(path: Path, project: Boundary, key: str, error: type[HpcdeployError]) -> None:
    """Refuse a template, or the folder for one, that is not the project's, or is git's; `key` names it in the message.

    git's own folder may hold passwords in its configuration, and programs that git runs. Raises `error`.
    """
    project.check(path, key, error)
    real = followed(path)
    if real.is_relative_to(project.project) and ".git" in real.relative_to(project.project).parts:
        raise error(f"{key}, which is {real}: git's own folder holds no templates; expected a file of the project")


def _exists(path: Path) -> bool:
    """Tell whether there is anything at `path`; where that cannot be told (a closed folder on the way), there is not."""
    try:
        os.stat(path)  # noqa: PTH116 - faster
    except OSError:
        return False
    return True


def _table(first: Mapping[str, object] | Iterable[tuple[str, object]] = (), /, **more: object) -> dict[str, object]:
    return {**dict(first), **more}


def _never_folded(word_filter: Filter) -> Filter:
    """Make jinja2 call a filter while it renders only: what it did to constants would be kept with the compiled template."""
    return pass_context(lambda _context, *values: word_filter(*values))
