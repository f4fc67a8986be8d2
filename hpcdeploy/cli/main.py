"""Define the command ``hpcdeploy``, and convert errors to messages and exit codes."""

import io
import os
import signal
import sys
from types import FrameType
from typing import Annotated

import typer
import typer.core

from hpcdeploy.cli import show
from hpcdeploy.cli.verbs import ClosedOutputError, Verbs
from hpcdeploy.errors import HpcdeployError

# The help text names the variable, because typer would import rich to add it (show_envvar).
_DEBUG = "Show a traceback for errors (or HPCDEPLOY_DEBUG=1)."

app = typer.Typer(
    name="hpcdeploy",
    cls=Verbs,
    help="From a locked environment to a GPU job on any Slurm or HTCondor cluster.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested: bool) -> None:
    if requested:
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
    """Raise KeyboardInterrupt, so that the command cleans up and ends.

    Further SIGTERM and SIGHUP do not interrupt the cleanup; a second Ctrl-C does. The two signals get a handler that does
    nothing, because child processes would inherit SIG_IGN (execve(2)).
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda _signal, _frame: None)
    raise KeyboardInterrupt


def _open_streams() -> None:
    """Open standard streams that were closed when the process started on ``/dev/null``.

    A closed stream is None in Python (docs of sys). The next file to be opened would get the number of the closed stream,
    and the output of child processes would be written into this file.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
            setattr(sys, name, os.fdopen(number, mode))
    # Characters that the encoding of the output lacks are escaped, as Python does on standard error (docs of sys). Otherwise
    # printing them would raise an error.
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _run() -> None:
    # Help is drawn with rich on a terminal only, because importing rich (with Markdown and syntax highlighting) takes half
    # of the CPU time of `hpcdeploy --help`. HAS_RICH is typer's only switch for all commands; its tests use it too.
    typer.core.HAS_RICH = typer.core.HAS_RICH and sys.stdout.isatty()
    try:
        app()
    finally:
        sys.stdout.flush()


def _close_output() -> None:
    """Redirect standard output to ``/dev/null``, so that Python reports no error at exit (docs of signal, SIGPIPE)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    """Run the command, and convert each error to a message and an exit code."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # a signal that nohup or a shell's & ignores stays ignored
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
    except (ClosedOutputError, BrokenPipeError):
        _close_output()
        sys.exit(141)
    except OSError as error:  # such as a full disk, or a folder without write permission
        if os.environ.get("HPCDEPLOY_DEBUG"):
            show.pass_on_trace()
            sys.exit(HpcdeployError.exit_code)
        _close_output()
        where = f"{error.filename}: " if error.filename else ""
        show.say(f"error: {where}{error.strerror or error}; fix the cause and run the command again")
        sys.exit(HpcdeployError.exit_code)
    except KeyboardInterrupt:
        show.say("interrupted")
        sys.exit(130)
    except Exception:  # noqa: BLE001 - a defect of hpcdeploy, whose traceback may contain remote text
        show.pass_on_trace()
        sys.exit(HpcdeployError.exit_code)


if __name__ == "__main__":
    main()
