"""Implement ``templates``: list, show and copy templates."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpcdeploy.cli import completion, show
from hpcdeploy.cli.columns import Column
from hpcdeploy.cli.options import AsJson

if TYPE_CHECKING:
    from hpcdeploy.templates import Template

app = typer.Typer(help="List, show and copy the templates for generated files.")

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="Name of a template, or its last part if unique, such as pixi.def.",
        autocompletion=completion.templates,
    ),
]


@app.callback(invoke_without_command=True)
def templates(context: typer.Context, json: AsJson = False) -> None:
    """List the templates, and show which of them the project overrides."""
    if context.invoked_subcommand is not None:
        return
    found = _every()
    if json:
        names = ("name", "shipped", "own", "in_force", "meant")
        rows = [{name: getattr(one, name) for name in names} for one in found]
        show.as_json(
            [{name: str(value) if isinstance(value, Path) else value for name, value in row.items()} for row in rows]
        )
        return
    known = [one for one in found if one.shipped]
    show.table(
        (Column("TEMPLATE", whole=True), "IN FORCE", Column("FILE", whole=True, drop=1)),
        [(one.name, "the project's own" if one.own else "shipped", str(one.in_force)) for one in known],
    )
    former = _former()
    for message in former.values():
        show.say(f"note: {message}")
    for one in found:
        if one.name in former:
            continue
        if one.shipped is None and one.meant:
            show.say(f"note: {one.own} does not match any template, so it has no effect; did you mean {one.meant}?")
        elif one.shipped is None:
            show.say(f"note: {one.own} overrides no template; it has no effect unless another template includes it")


@app.command("show")
def show_one(name: Name) -> None:
    """Print a template: the project's version if there is one, or else the shipped one."""
    template = _find(name)
    from hpcdeploy.boundary import Boundary
    from hpcdeploy.cli.place import here
    from hpcdeploy.sandbox import read_template

    own = template.own
    show.exact(read_template(own, Boundary(here().project.root)) if own else _text(_shipped(template)))


@app.command()
def copy(name: Name, force: Annotated[bool, typer.Option("--force", help="Overwrite the project's file.")] = False) -> None:
    """Copy a template into the project; the copy overrides the shipped template."""
    from hpcdeploy.boundary import Boundary
    from hpcdeploy.cli.place import here
    from hpcdeploy.errors import ConfigError
    from hpcdeploy.generated_file import write_generated

    template = _find(name)
    root = here().project.root
    target = root / template.name
    if target.resolve() == _shipped(template).resolve():
        raise ConfigError(f"{target} is the shipped template itself; run the command in the folder of a project")
    # Only the parent folder is checked: if the file is a link, the link is replaced and its target is not written.
    Boundary(root).check(target.parent, f"{target} would be written to {target.parent}", ConfigError)
    try:
        write_generated({target: _text(_shipped(template))}, force=force, edited=True)
    except OSError as error:
        raise ConfigError(f"{target} cannot be written: {error.strerror}") from error
    show.put(f"wrote {target}; hpcdeploy uses this copy from now on")


def _every() -> "tuple[Template, ...]":
    from hpcdeploy.cli.place import here
    from hpcdeploy.templates import every_template

    return every_template(here().project.root)


def _former() -> dict[str, str]:
    """Return messages for files of the project that override a template of an earlier version, by the template's name."""
    from hpcdeploy.cli.place import here
    from hpcdeploy.templates import former_message, former_templates

    root = here().project.root
    return {name: former_message(name, root) for name in former_templates(root)}


def _find(name: str) -> "Template":
    from hpcdeploy.errors import ConfigError
    from hpcdeploy.plain_text import nearest

    known = [one for one in _every() if one.shipped]
    found = [one for one in known if one.name == name] or [one for one in known if one.name.endswith(f"/{name}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(f"{name!r} is ambiguous: {' and '.join(one.name for one in found)} end in it; use the full name")
    raise ConfigError(f"there is no template {name!r}; {nearest(name, tuple(one.name for one in known))}")


def _shipped(template: "Template") -> Path:
    assert template.shipped is not None
    return template.shipped


def _text(path: Path) -> str:
    from hpcdeploy.errors import ConfigError

    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as UTF-8 text: {error}") from error
