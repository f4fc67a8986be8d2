"""Cache compiled templates between commands, because compiling took more time than the rest of rendering."""

import contextlib
import os
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from jinja2 import BaseLoader, BytecodeCache, Environment, StrictUndefined, TemplateNotFound, pass_context
from jinja2.bccache import Bucket
from jinja2.loaders import split_template_path
from jinja2.sandbox import ImmutableSandboxedEnvironment

from hpcdeploy import __version__
from hpcdeploy.boundary import Boundary
from hpcdeploy.errors import HpcdeployError, TemplateError
from hpcdeploy.folders import cache_folder
from hpcdeploy.ownership import check_owned
from hpcdeploy.plain_text import meant
from hpcdeploy.private import own_folder, read_private
from hpcdeploy.regular_file import LARGEST_TEXT, read_regular
from hpcdeploy.whole_file import whole_file


class CompiledTemplates(BytecodeCache):
    """Cache compiled templates in `folder`, one file per template, named by the template's file.

    The cache is code that Python runs, so a file is only used if no other user can have written it (`private.read_private`).
    It belongs to a template's exact text, to the compiler's options (`manner`, a text that changes with them), and to this
    version of Python and jinja2. If the cache cannot be written or read, the template is compiled again, without an error.
    """

    def __init__(self, folder: Path, *, manner: str) -> None:
        self._folder = folder
        self._manner = manner

    def get_source_checksum(self, source: str) -> str:
        """Return the key that identifies a template."""
        return super().get_source_checksum(f"{self._manner}\n{source}")

    def load_bytecode(self, bucket: Bucket) -> None:
        """Fill `bucket` from the cache."""
        try:
            bucket.bytecode_from_string(read_private(self._folder, bucket.key))
        except Exception:  # noqa: BLE001 - reading a damaged pickle "may raise any exception" (docs of pickle, UnpicklingError)
            bucket.reset()

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Write `bucket` to the cache."""
        with contextlib.suppress(OSError), whole_file(own_folder(self._folder) / bucket.key) as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(bucket.bytecode_to_string())


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


FOLDERS = ("defs", "login_templates", "slurm_templates", "htcondor_templates", "page_templates", "workflow_templates")

_MARKUP = (".html", ".svg")
"""Suffixes of templates whose values are escaped automatically; in shell and definition files each value is quoted
explicitly."""


@dataclass(frozen=True, kw_only=True)
class Template:
    """A template by its name (``"defs/pixi.def"``).

    Attributes:
        name: Its name.
        shipped: The built-in file; None for a file in the project's template folders that overrides none.
        own: The project's own file; None if there is none.
        meant: For a file that overrides none, the template that was probably meant; empty if none is similar.
    """

    name: str
    shipped: Path | None = None
    own: Path | None = None
    meant: str = ""

    @property
    def in_force(self) -> Path | None:
        """The file that is used; None if this is not a template."""
        return self.shipped and (self.own or self.shipped)


def shipped_root() -> Path:
    """Return the folder with the built-in template folders.

    In a wheel it is ``hpcdeploy/_data``; for an editable installation the top of the checkout.
    """
    package = Path(__file__).parent
    data = package / "_data"
    return data if data.is_dir() else package.parent


def every_template(overrides: Path | None = None) -> tuple[Template, ...]:
    """Return the built-in templates, and the files in the project's own template folders (`overrides` is its folder).

    Raises:
        ConfigError: Another user may have written one of them.
    """

    shipped = _files(shipped_root())
    own = _files(overrides) if overrides and overrides.resolve() != shipped_root().resolve() else {}
    for name in own:
        check_template(cast("Path", overrides), name)
    return tuple(
        Template(
            name=name,
            shipped=shipped.get(name),
            own=own.get(name),
            meant="" if name in shipped else _meant(name, shipped),
        )
        for name in sorted({*shipped, *own})
    )


def render(
    name: str,
    values: Mapping[str, object],
    *,
    filters: Mapping[str, Callable[..., str]] | None = None,
    overrides: Path | None = None,
) -> str:
    """Render the template `name` (``"defs/pixi.def"``) with `values`, in a sandbox (`hpcdeploy.templates`).

    Args:
        name: The template.
        values: The values, which are converted to plain ones.
        filters: Filters in addition to jinja's own.
        overrides: The project's folder; its own file of the same name takes precedence.

    Raises:
        TemplateError: The template is missing, broken, or uses an undefined name or a forbidden operation.
        ConfigError: Another user may have written it.
    """
    import jinja2

    files = TemplateFiles(shipped_root(), overrides, FOLDERS)
    sandbox = environment(
        files,
        filters or {},
        compiled=CompiledTemplates(cache_folder(os.environ) / "templates", manner=_manner()),
        is_markup=_is_markup,
    )
    given = {word: plain(value) for word, value in values.items()}
    try:
        return sandbox.get_template(name).render(given)
    except HpcdeployError:  # raised by a filter, or for a file that is not allowed
        raise
    except jinja2.TemplateNotFound as error:
        raise TemplateError(f"the template {error.name!r} is not in {' or '.join(map(str, files.roots))}") from error
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"{error.filename or name}, line {error.lineno}: {error.message}") from error
    except Exception as error:  # also of the compiled template, such as too many nested loops (SyntaxError)
        reason = str(error) or type(error).__name__
        raise TemplateError(f"{_place(error, files.roots) or name}: {reason}") from error


def _manner() -> str:
    """Return a text that changes with the code here: options and filter calls are compiled into a template."""
    changed = (Path(__file__).with_name(name).stat().st_mtime_ns for name in ("templates.py", "sandbox.py"))
    return f"{__version__} {' '.join(map(str, changed))}"


def _meant(name: str, shipped: Iterable[str]) -> str:
    """Return the most similar template in the same folder as `name`."""
    folder, _, word = name.partition("/")
    words = {other.removeprefix(f"{folder}/"): other for other in shipped if other.startswith(f"{folder}/")}
    return words.get(meant(word, words) or "", "")


def _is_markup(name: str | None) -> bool:
    return (name or "").endswith(_MARKUP)


def _place(error: Exception, roots: Sequence[Path]) -> str:
    """Return the template and line of an error; the frames of filters are skipped."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if any(Path(frame.filename).is_relative_to(root / folder) for root in roots for folder in FOLDERS):
            return f"{frame.filename}, line {frame.lineno}"
    return ""


def _files(root: Path) -> dict[str, Path]:
    """Return the files in the template folders of `root` by name, except hidden ones."""
    return {
        str(path.relative_to(root)): path
        for folder in FOLDERS
        for path in sorted((root / folder).rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    }
