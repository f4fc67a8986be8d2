"""Find and render templates. An undefined name in a template is an error with file and line.

A template is searched in the template folders of the project first, then among the built-in templates. The built-in
templates are in the folder ``_data`` of the installed package; in a checkout, they are at the top of the repository.
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
"""The folders with templates. A project may replace each template by a file in a folder of the same name."""

_LIBRARY = ("login",)
"""The folders with constant files that templates include. A project cannot replace these files."""

_FORMER_FOLDER = "login_templates"
"""A template folder of earlier versions, all of whose templates are constant files now."""

_FORMER = frozenset(
    {
        *(f"slurm_templates/{name}.sh" for name in ("after", "asking", "checks", "follow", "my_jobs", "pull")),
        *(f"slurm_templates/{name}.sh" for name in ("release", "submit", "waiting")),
        *(f"htcondor_templates/{name}.sh" for name in ("asking", "follow", "submit")),
    }
)
"""Other templates of earlier versions that are constant files now. All were for scripts that run on login nodes."""

_NOW = {"login_templates/program.sh": "slurm_templates/program.sh and htcondor_templates/program.sh"}
"""Former templates that other templates replaced, each with the names of these."""

_MARKUP = (".html", ".svg")
"""Suffixes of templates whose values are escaped automatically. In all other templates, each value is quoted explicitly."""


@frozen
class Template:
    """A built-in template, or a file in one of the project's template folders.

    Attributes:
        name: The path relative to the root of the template folders, such as ``defs/pixi.def``.
        shipped: The path of the built-in template; None if the project's file replaces no template.
        own: The path of the project's file; None if the project has no file of this name.
        meant: If the project's file replaces no template, the name of the most similar template; empty if no name is
            similar.
    """

    name: str
    shipped: Path | None = None
    own: Path | None = None
    meant: str = ""

    @property
    def in_force(self) -> Path | None:
        """The path of the file that is used; None if the project's file replaces no template, and so is never used."""
        return self.shipped and (self.own or self.shipped)


def shipped_root() -> Path:
    """Return the folder that contains the built-in template folders.

    It is ``hpcdeploy/_data`` if hpcdeploy was installed from a wheel, and the top of the checkout for an editable
    installation.
    """
    package = Path(__file__).parent
    data = package / "_data"
    return data if data.is_dir() else package.parent


def shipped_names() -> tuple[str, ...]:
    """Return the names of the built-in templates."""
    return tuple(sorted(_files(shipped_root(), FOLDERS)))


def every_template(overrides: Path | None = None) -> tuple[Template, ...]:
    """Return the built-in templates, and the files in the template folders of the project in the folder `overrides`.

    Raises:
        ConfigError: Another user may have written one of the project's files.
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
    """Return the names of the project's files that replace a template of an earlier version that no longer exists."""
    if project is None or project.resolve() == shipped_root().resolve():
        return ()
    found = [name for name in _FORMER if (project / name).is_file()]
    found += _files(project, (_FORMER_FOLDER,))
    return tuple(sorted(found))


def former_message(name: str, project: Path) -> str:
    """Return a message about a file that `former_templates` found, with advice."""
    now = _NOW.get(name)
    if now:
        return f"{project / name} overrides a template that is now {now}: copy your changes there, and remove the file"
    return (
        f"{project / name} overrides a template that no longer exists: scripts for login nodes now consist of constant files"
        " (docs/what-runs-on-your-cluster.md). Move your changes to the cluster's setup, or to"
        " a template of the job (hpcdeploy templates), and remove the file"
    )


def refuse_former(project: Path | None) -> None:
    """Check that the project replaces no template that no longer exists, because its changes would be lost silently.

    Raises:
        TemplateError: The project replaces such a template.
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
        name: The name of the template.
        values: The values of the template, by name (see `hpcdeploy.sandbox.plain`).
        filters: Filters in addition to those of jinja.
        overrides: The project's folder. A file of this name in it replaces the built-in template.

    Raises:
        TemplateError: The template is missing, broken, or uses an undefined name or a forbidden operation.
        ConfigError: Another user may have written the template.
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
    plain_values = {word: plain(value) for word, value in values.items()}
    try:
        return sandbox.get_template(name).render(plain_values)
    except HpcdeployError:  # raised by a filter, or for a file that is not allowed
        raise
    except jinja2.TemplateNotFound as error:
        raise TemplateError(f"the template {error.name!r} is not in {' or '.join(map(str, files.roots))}") from error
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"{error.filename or name}, line {error.lineno}: {error.message}") from error
    except Exception as error:  # including errors of the compiled template, such as too many nested loops (SyntaxError)
        reason = str(error) or type(error).__name__
        raise TemplateError(f"{_place(error, files.roots) or name}: {reason}") from error


def _manner() -> str:
    """Return a text that changes with this module and the sandbox, because their options are compiled into templates."""
    changed = (Path(__file__).with_name(name).stat().st_mtime_ns for name in ("templates.py", "sandbox.py"))
    return f"{__version__} {' '.join(map(str, changed))}"


def _meant(name: str, shipped: Iterable[str]) -> str:
    """Return the name of the template in the folder of `name` that is most similar to `name`; empty if none is similar."""
    folder, _, word = name.partition("/")
    words = {other.removeprefix(f"{folder}/"): other for other in shipped if other.startswith(f"{folder}/")}
    return words.get(meant(word, words) or "", "")


def _is_markup(name: str | None) -> bool:
    return (name or "").endswith(_MARKUP)


def _place(error: Exception, roots: Sequence[Path]) -> str:
    """Return the template and the line in which an error occurred; empty if it occurred outside of templates."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if any(Path(frame.filename).is_relative_to(root / folder) for root in roots for folder in FOLDERS):
            return f"{frame.filename}, line {frame.lineno}"
    return ""


def _files(root: Path, folders: Iterable[str]) -> dict[str, Path]:
    """Return the paths of the files in the template `folders` of `root`, by name. Hidden files are left out."""
    return {
        str(path.relative_to(root)): path
        for folder in folders
        for path in sorted((root / folder).rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    }
