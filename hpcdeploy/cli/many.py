"""Run ``generate``, ``build`` and ``push`` for several images, and print a table of the results.

An image that fails does not stop the others.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from json import loads
from typing import Any

import typer

from hpcdeploy.cli import show
from hpcdeploy.cli.columns import Column
from hpcdeploy.plain_text import written

Rows = Callable[[Any], list[list[str]]]
"""A function that converts the JSON output of the command for one image to rows of the table, without the image's name."""


def option(name: str, value: object) -> list[str]:
    """Return an option as arguments of a command: one for each value of a list, and none if `value` is None or False."""
    if value is None or value is False:
        return []
    if value is True:
        return [name]
    return [f"{name}={one}" for one in (value if isinstance(value, list | tuple) else [value])]


def generate(tasks: Mapping[str, Callable[[], None]]) -> None:
    """Call the function of each image in `tasks`, which writes the image's text, one after the other.

    Raises:
        typer.Exit: An image failed; the exit code is that of the first failure.
    """
    from hpcdeploy.errors import HpcdeployError

    table, code = [], 0
    for name, write in tasks.items():
        try:
            write()
            table.append([name, "written", ""])
        except HpcdeployError as error:
            show.say(f"{name} | error: {error}")
            table.append([name, *_failed_row(str(error).partition("\n")[0])[::2]])
            code = code or error.exit_code
    show.table((Column("IMAGE", whole=True), "RESULT", "ERROR"), table)
    if code:
        raise typer.Exit(code)


def build(tasks: Mapping[str, Sequence[str]], *, jobs: int, json: bool) -> None:
    """Build each image in `tasks` with its options.

    Args:
        tasks: The options of ``hpcdeploy build``, by the name of the image.
        jobs: Number of images to build at the same time.
        json: Print JSON instead of a table.

    Raises:
        typer.Exit: An image failed; the exit code is that of the first failure.
    """
    _run("build", tasks, lambda image: [_built_row(image)], "SHA256", jobs=jobs, json=json)


def push(tasks: Mapping[str, Sequence[str]], *, jobs: int, json: bool) -> None:
    """Push each image in `tasks` with its options, which are those of ``hpcdeploy push``.

    Raises:
        typer.Exit: An image failed; the exit code is that of the first failure.
    """
    _run("push", tasks, lambda places: [_pushed_row(place) for place in places], "REFERENCE", jobs=jobs, json=json)


def _run(verb: str, tasks: Mapping[str, Sequence[str]], rows: Rows, identity: str, *, jobs: int, json: bool) -> None:
    from hpcdeploy.flows.several_images import Task, first_failure, run_each

    # -P, so that Python does not import a file of the working folder, such as types.py, as one of its modules (python(1)).
    command = (sys.executable, "-P", "-m", "hpcdeploy.cli.main", verb, "--json")
    planned = [Task(name=name, argv=(*command, *options, "--", name)) for name, options in tasks.items()]
    ended = run_each(planned, jobs=jobs, say=lambda name, line: show.say_indented(f"{name} | {line}", len(name) + 3))
    answers = [loads(one.output) if one.output else None for one in ended]
    if json:
        show.as_json(
            [
                {"image": one.name, "exit_code": one.exit_code, "result": answer, "error": one.error}
                for one, answer in zip(ended, answers, strict=True)
            ]
        )
    else:
        table = []
        for one, answer in zip(ended, answers, strict=True):
            error = one.error.partition("\n")[0] or f"ended with exit code {one.exit_code}"
            table += [[one.name, *row] for row in (rows(answer) if answer else [_failed_row(error)])]
        print_table(table, identity, failed=bool(first_failure(ended)))
    if code := first_failure(ended):
        raise typer.Exit(code)


def print_table(rows: Sequence[Sequence[str]], identity: str, *, failed: bool) -> None:
    """Print the results; the last column is the `identity` of each image, or its error if some images have `failed`."""
    show.table((Column("IMAGE", whole=True), "RESULT", "SIZE", Column(identity, whole=not failed)), rows)


def _built_row(image: Mapping[str, Any]) -> list[str]:
    done = "unchanged" if image["unchanged"] else "built"
    where = f" on {image['built_on']}" if image["built_on"] else ""
    return [f"{done}{where}", written(image["size"]), image["sha256"]]


def _pushed_row(place: Mapping[str, Any]) -> list[str]:
    if "error" in place:
        return _failed_row(f"{place['repository']}: {place['error']}".partition("\n")[0])
    return ["pushed", written(place["size"]), f"{place['reference']} ({', '.join(place['tags'])})"]


def _failed_row(error: str) -> list[str]:
    return ["failed", "", error]
