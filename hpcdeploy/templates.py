"""Find and render templates; an undefined name is an error with file and line.

A template is searched in the project's own folders first, then among the built-in ones. These are in the installed package
(``_data``) or, in a checkout, at the top of the repository.
"""

import os
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

from hpcdeploy import __version__
from hpcdeploy.errors import HpcdeployError, TemplateError
from hpcdeploy.folders import cache_folder
from hpcdeploy.frozen import frozen
from hpcdeploy.plain_text import meant

FOLDERS = ("defs", "slurm_templates", "htcondor_templates", "page_templates", "workflow_templates")
"""The folders with templates, which a project's own files may replace."""

_LIBRARY = ("login",)
"""The folders with constant files that templates include, which a project cannot replace."""

_FORMER_FOLDER = "login_templates"

_FORMER = frozenset(
    {
        *(f"slurm_templates/{name}.sh" for name in ("after", "asking", "checks", "follow", "my_jobs", "pull")),
        *(f"slurm_templates/{name}.sh" for name in ("release", "submit", "waiting")),
        *(f"htcondor_templates/{name}.sh" for name in ("asking", "follow", "submit")),
    }
)
"""Templates of the scripts for login nodes in earlier versions, as all of `_FORMER_FOLDER`. They are constant files now."""

_NOW = {"login_templates/program.sh": "slurm_templates/program.sh and htcondor_templates/program.sh"}
"""Templates that others replaced."""

_MARKUP = (".html", ".svg")
"""Suffixes of templates whose values are escaped automatically; in shell and definition files each value is quoted
explicitly."""


@frozen
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


def shipped_names() -> tuple[str, ...]:
    """Return the names of the built-in templates."""
    return tuple(sorted(_files(shipped_root(), FOLDERS)))


def every_template(overrides: Path | None = None) -> tuple[Template, ...]:
    """Return the built-in templates, and the files in the project's own template folders (`overrides` is its folder).

    Raises:
        ConfigError: Another user may have written one of them.
    """
    from hpcdeploy.sandbox import check_template

    shipped = _files(shipped_root(), FOLDERS)
    own = _files(overrides, FOLDERS) if overrides and overrides.resolve() != shipped_root().resolve() else {}
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


def former_templates(project: Path | None) -> tuple[str, ...]:
    """Return the project's files that override a template of an earlier version, which no longer exists."""
    if project is None or project.resolve() == shipped_root().resolve():
        return ()
    found = [name for name in _FORMER if (project / name).is_file()]
    found += _files(project, (_FORMER_FOLDER,))
    return tuple(sorted(found))


def former_message(name: str, project: Path) -> str:
    """Return what to do about a file that `former_templates` found."""
    now = _NOW.get(name)
    if now:
        return f"{project / name} overrides a template that is now {now}: copy your changes there, and remove the file"
    return (
        f"{project / name} overrides a template that no longer exists: scripts for login nodes now consist of constant files"
        " (docs/what-runs-on-your-cluster.md). Move your changes to the cluster's setup, or to"
        " a template of the job (hpcdeploy templates), and remove the file"
    )


def refuse_former(project: Path | None) -> None:
    """Check that the project overrides no template that no longer exists: its changes would be lost silently.

    Raises:
        TemplateError: It does.
    """
    found = former_templates(project)
    if found:
        assert project is not None
        more = f" (and {len(found) - 1} more: {', '.join(found[1:])})" if len(found) > 1 else ""
        raise TemplateError(former_message(found[0], project) + more)


def render(
    name: str,
    values: Mapping[str, object],
    *,
    filters: Mapping[str, Callable[..., str]] | None = None,
    overrides: Path | None = None,
) -> str:
    """Render the template `name` (``"defs/pixi.def"``) with `values`, in a sandbox (`hpcdeploy.sandbox`).

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

    from hpcdeploy.compiled_templates import CompiledTemplates
    from hpcdeploy.sandbox import TemplateFiles, environment, plain

    files = TemplateFiles(shipped_root(), overrides, FOLDERS, library=_LIBRARY)
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


def _files(root: Path, folders: Iterable[str]) -> dict[str, Path]:
    """Return the files in the template `folders` of `root` by name, except hidden ones."""
    return {
        str(path.relative_to(root)): path
        for folder in folders
        for path in sorted((root / folder).rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    }
