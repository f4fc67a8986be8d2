"""Text from values: finds a template and renders it; an undefined name is an error with file and line.

A template is looked for in the project's own folders first, then among those that hpcdeploy ships, which lie inside the
installed package (``_data``) or, in a checkout, at the top of the repository.
"""

import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from hpcdeploy.errors import TemplateError

FOLDERS = ("defs", "login_templates", "slurm_templates", "htcondor_templates")


def shipped_root() -> Path:
    """Return the folder that holds the shipped template folders.

    A wheel carries them in ``hpcdeploy/_data``; an editable installation finds them at the top of the checkout.
    """
    package = Path(__file__).parent
    data = package / "_data"
    return data if data.is_dir() else package.parent


def render(
    name: str,
    values: Mapping[str, object],
    *,
    filters: Mapping[str, Callable[..., str]] | None = None,
    overrides: Path | None = None,
) -> str:
    """Render the template `name` (``"defs/pixi.def"``) with `values`.

    `overrides` is the project's folder: a file of the same name there wins. Raises `TemplateError` where the template is
    missing, broken, or uses a name that nobody defined.
    """
    import jinja2

    roots = [overrides, shipped_root()] if overrides else [shipped_root()]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([str(root) for root in roots]),
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
        autoescape=False,  # noqa: S701 - shell and definition files, where each value has its own quoting filter
    )
    environment.filters.update(filters or {})
    try:
        return environment.get_template(name).render(values)
    except jinja2.TemplateNotFound as error:
        raise TemplateError(f"template {error.name!r} is not in {' or '.join(map(str, roots))}") from error
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"{error.filename or name}, line {error.lineno}: {error.message}") from error
    except jinja2.UndefinedError as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise TemplateError(f"{frame.filename}, line {frame.lineno}: {error.message}") from error
