"""Text from values: finds a template and renders it; an undefined name is an error with file and line.

A template is looked for in the project's own folders first, then among those that hpcdeploy ships, which lie inside the
installed package (``_data``) or, in a checkout, at the top of the repository.
"""

import os
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from hpcdeploy import __version__
from hpcdeploy.errors import TemplateError
from hpcdeploy.folders import cache_folder
from hpcdeploy.spelling import meant

FOLDERS = ("defs", "login_templates", "slurm_templates", "htcondor_templates", "page_templates", "workflow_templates")

_MARKUP = (".html", ".svg")
"""Templates whose values escape themselves; all else is shell and definition files, where each value has its own quoting."""


@dataclass(frozen=True, kw_only=True)
class Template:
    """A template by its name (``"defs/pixi.def"``): the shipped file, and the project's own where it has one.

    ``shipped`` is None for a file of the project in a template folder whose name is no template's; ``meant`` is then the
    template that it was probably meant to be (empty: none is near).
    """

    name: str
    shipped: Path | None = None
    own: Path | None = None
    meant: str = ""

    @property
    def in_force(self) -> Path | None:
        """The file that is rendered; None where this is no template."""
        return self.shipped and (self.own or self.shipped)


def shipped_root() -> Path:
    """Return the folder that holds the shipped template folders.

    A wheel carries them in ``hpcdeploy/_data``; an editable installation finds them at the top of the checkout.
    """
    package = Path(__file__).parent
    data = package / "_data"
    return data if data.is_dir() else package.parent


def every_template(overrides: Path | None = None) -> tuple[Template, ...]:
    """List the shipped templates, and the files of the project's own template folders (`overrides` is its folder).

    Raises `ConfigError` for one that another user may have written.
    """
    from hpcdeploy.own_templates import check_template

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
    """Render the template `name` (``"defs/pixi.def"``) with `values`.

    `overrides` is the project's folder: a file of the same name there wins. Raises `TemplateError` where the template is
    missing, broken, uses a name that nobody defined, or does with a value what cannot be done.
    """
    import jinja2

    from hpcdeploy.compiled_templates import CompiledTemplates
    from hpcdeploy.own_templates import TemplateFiles

    roots = [overrides, shipped_root()] if overrides else [shipped_root()]
    environment = jinja2.Environment(
        loader=TemplateFiles(overrides, shipped_root(), FOLDERS),
        undefined=jinja2.StrictUndefined,
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
        bytecode_cache=CompiledTemplates(cache_folder(os.environ) / "templates", manner=_manner()),
        autoescape=_is_markup,  # noqa: S701 - a choice by name
    )
    environment.filters.update({word: _never_folded(word_filter) for word, word_filter in (filters or {}).items()})
    try:
        return environment.get_template(name).render(values)
    except jinja2.TemplateNotFound as error:
        raise TemplateError(f"template {error.name!r} is not in {' or '.join(map(str, roots))}") from error
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"{error.filename or name}, line {error.lineno}: {error.message}") from error
    except (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError) as error:
        raise TemplateError(f"{_place(error, roots) or name}: {error}") from error


def _manner() -> str:
    """Return what changes when this file does: the options, and how filters are called, are compiled into a template."""
    return f"{__version__} {Path(__file__).stat().st_mtime_ns}"


def _never_folded(word_filter: Callable[..., str]) -> Callable[..., str]:
    """Make jinja2 call a filter while it renders only: what it did to constants would be kept with the compiled template."""
    import jinja2

    return jinja2.pass_context(lambda _context, *values: word_filter(*values))


def _meant(name: str, shipped: Iterable[str]) -> str:
    """Return the template of the same folder that `name` is nearest to: the folder itself is right already."""
    folder, _, word = name.partition("/")
    words = {other.removeprefix(f"{folder}/"): other for other in shipped if other.startswith(f"{folder}/")}
    return words.get(meant(word, words) or "", "")


def _is_markup(name: str | None) -> bool:
    return (name or "").endswith(_MARKUP)


def _place(error: Exception, roots: Sequence[Path]) -> str:
    """Say in which line of which template an error came up: a filter's own frames, further in, are of no use to anybody."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if any(Path(frame.filename).is_relative_to(root / folder) for root in roots for folder in FOLDERS):
            return f"{frame.filename}, line {frame.lineno}"
    return ""


def _files(root: Path) -> dict[str, Path]:
    """Return the files in the template folders of `root` by their names, hidden ones left out."""
    return {
        str(path.relative_to(root)): path
        for folder in FOLDERS
        for path in sorted((root / folder).rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    }
