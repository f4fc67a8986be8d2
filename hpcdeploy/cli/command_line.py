"""Keep the arguments after ``--``: a program and its arguments, which must not be parsed as options."""

from typing import Any

from typer.core import TyperCommand

META = "hpcdeploy.command"


class WithCommand(TyperCommand):
    """A verb with ``[-- COMMAND...]``: all arguments after the first ``--`` are kept unchanged."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer bundles its own click and types
        """Remove these arguments before the options are parsed."""
        if "--" in args:
            cut = args.index("--")
            ctx.meta[META] = tuple(args[cut + 1 :])
            args = args[:cut]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ANN401 - the same
        """Add the arguments after ``--`` to the usage line."""
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]
