"""The words after ``--``: a program and its arguments, which no option of ours may take for its own."""

from typing import Any

from typer.core import TyperCommand

META = "hpcdeploy.command"


class WithCommand(TyperCommand):
    """A verb that takes ``[-- COMMAND...]``: what follows the first ``--`` is kept word by word, and never parsed."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer brings its own click and its types
        """Cut the words off before the options are read."""
        if "--" in args:
            cut = args.index("--")
            ctx.meta[META] = tuple(args[cut + 1 :])
            args = args[:cut]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ANN401 - the same
        """Show the words after ``--`` in the usage line too."""
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]
