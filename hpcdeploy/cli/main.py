"""Define the command ``hpcdeploy``; here errors become messages and exit codes."""

import io
import os
import signal
import sys
from types import FrameType
from typing import Annotated

import typer
import typer.core

from hpcdeploy.cli import show
from hpcdeploy.cli.verbs import NobodyReadsError, Verbs
from hpcdeploy.errors import HpcdeployError

_DEBUG = "Show a traceback for errors (or HPCDEPLOY_DEBUG=1)."  # typer reads rich to write the variable itself

app = typer.Typer(
    name="hpcdeploy",
    cls=Verbs,
    help="From a locked environment to a GPU job on any Slurm or HTCondor cluster.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        from hpcdeploy import __version__

        show.put(f"hpcdeploy {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help=_DEBUG, envvar="HPCDEPLOY_DEBUG", show_envvar=False)] = False,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """From a locked environment to a GPU job on any Slurm or HTCondor cluster."""
    if debug:
        os.environ["HPCDEPLOY_DEBUG"] = "1"


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt for cleanup; further signals must not interrupt it.

    A second Ctrl-C still does. This is a handler, not SIG_IGN, which child processes would inherit (execve(2)).
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda _signal, _frame: None)
    raise KeyboardInterrupt


def _open_streams() -> None:
    """Open streams that were closed at the start (None, docs of sys) on /dev/null, so that output reaches no other file."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
            setattr(sys, name, os.fdopen(number, mode))
    # Characters that the terminal's encoding lacks are escaped, as on standard error (docs of sys), instead of failing.
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _run() -> None:
    # Help is only drawn on a terminal: rich, with the Markdown and syntax colours that typer imports too, took half of the
    # CPU time of `hpcdeploy --help`. typer has no other switch for all commands (its own tests use this one).
    typer.core.HAS_RICH = typer.core.HAS_RICH and sys.stdout.isatty()
    try:
        app()
    finally:
        sys.stdout.flush()


def _close_output() -> None:
    """Discard unwritten output, so that Python reports no error at exit (docs of signal, SIGPIPE)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    """Run the command; each expected error becomes one message and an exit code."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # ignored by nohup and a shell's &
            signal.signal(number, _interrupt)
    _open_streams()
    try:
        _run()
    except HpcdeployError as error:
        if os.environ.get("HPCDEPLOY_DEBUG"):
            show.pass_on_trace()
        else:
            show.say(f"error: {error}")
        sys.exit(error.exit_code)
    except (NobodyReadsError, BrokenPipeError):
        _close_output()
        sys.exit(141)
    except OSError as error:  # a full disk, a folder without write permission: the system's message is the best
        if os.environ.get("HPCDEPLOY_DEBUG"):
            show.pass_on_trace()
            sys.exit(HpcdeployError.exit_code)
        _close_output()
        where = f"{error.filename}: " if error.filename else ""
        show.say(f"error: {where}{error.strerror or error}; fix this and run the command again")
        sys.exit(HpcdeployError.exit_code)
    except KeyboardInterrupt:
        show.say("interrupted")
        sys.exit(130)
    except Exception:  # noqa: BLE001 - a defect of hpcdeploy, whose traceback may contain remote text
        show.pass_on_trace()
        sys.exit(HpcdeployError.exit_code)


if __name__ == "__main__":
    main()
