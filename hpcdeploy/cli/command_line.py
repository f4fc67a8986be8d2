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

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - the same
        """Write the options below their headings, as rich does."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for param in self.get_params(ctx):
            usual = f"{param.param_type_name.capitalize()}s"
            if record := param.get_help_record(ctx):
                sections.setdefault(getattr(param, "rich_help_panel", None) or usual, []).append(record)
        for name, records in sections.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ANN401 - the same
        """Add the arguments after ``--`` to the usage line."""
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]
