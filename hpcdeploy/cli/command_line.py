"""Keep the arguments after ``--`` unparsed, because they are a program and its arguments."""

import shlex
from collections.abc import Sequence
from typing import Any

from click import NoSuchOption, UsageError
from typer.core import TyperCommand

from hpcdeploy.plain_text import one_line

META = "hpcdeploy.command"


class WithCommand(TyperCommand):
    """A verb with ``[-- COMMAND...]``: all arguments after the first ``--`` are stored unchanged in ``ctx.meta[META]``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer bundles its own click and types
        """Store the arguments after ``--``, and parse the arguments before it.

        Raises:
            UsageError: The arguments are malformed. If only ``--`` is missing, the message shows the correct command.
        """
        if "--" in args:
            cut = args.index("--")
            ctx.meta[META] = tuple(args[cut + 1 :])
            return super().parse_args(ctx, args[:cut])
        given = tuple(args)
        try:
            return super().parse_args(ctx, args)
        except UsageError as error:
            start = _start_of_command(self.params, given, error)
            if start is None:
                raise
            words = one_line(f"{ctx.command_path} {shlex.join((*given[:start], '--', *given[start:]))}")
            message = error.format_message()
            stop = "" if message.endswith(("?", ".")) else "."
            raise UsageError(f"{message}{stop} A program and its arguments come after --: {words}", ctx) from None

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ANN401 - the same
        """Add the arguments after ``--`` to the usage line."""
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - the same
        """Write the arguments and options under the same headings as typer's help does with rich."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for param in self.get_params(ctx):
            usual = f"{param.param_type_name.capitalize()}s"
            if record := param.get_help_record(ctx):
                sections.setdefault(getattr(param, "rich_help_panel", None) or usual, []).append(record)
        for name, records in sections.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)


def _start_of_command(params: Sequence[Any], args: Sequence[str], error: UsageError) -> int | None:
    """Return the index in `args` where ``--`` is probably missing; None if `error` has another reason.

    ``--`` belongs after the arguments of the verb. If the verb's first parameter is ``run``, or if the first word names a
    job or an image, the first word is an argument of the verb. Otherwise the first word is the program.
    """
    places = _arguments(params, args)
    own = [param.name for param in params if param.param_type_name == "argument"]
    if not places:
        return None
    names = _names()
    is_own = own[0] == "run" or args[places[0]] in names or args[places[0]].endswith(".sif") or "://" in args[places[0]]
    extra = places[len(own) :]
    # A plain UsageError means too many arguments. If the first surplus word is a job or an image of the project, it is not a
    # program, so ``--`` is not missing.
    if type(error) is UsageError:
        return None if not extra or args[extra[0]] in names else (extra if is_own else places)[0]
    if not isinstance(error, NoSuchOption):
        return None
    unknown = next((place for place, word in enumerate(args) if word.partition("=")[0] == error.option_name), -1)
    if unknown < places[0]:
        return None
    return min([unknown, *extra]) if is_own else places[0]


def _arguments(params: Sequence[Any], args: Sequence[str]) -> list[int]:
    """Return the indices of the words in `args` that are neither options nor values of options."""
    with_value = {name for param in params if not getattr(param, "is_flag", True) for name in param.opts}
    return [
        place
        for place, word in enumerate(args)
        if not (word.startswith("-") and len(word) > 1) and not (place and args[place - 1] in with_value)
    ]


def _names() -> frozenset[str]:
    """Return the names of the project's jobs and images; an empty set if the settings cannot be read."""
    from hpcdeploy.cli.place import here
    from hpcdeploy.errors import HpcdeployError

    try:
        project = here().project
    except (HpcdeployError, OSError):
        return frozenset()
    return frozenset((*project.jobs, *project.images))
