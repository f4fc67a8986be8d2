"""The command ``hpcdeploy``: its verbs, and the one place where an error becomes a message and an exit code."""

import io
import os
import signal
import sys
from types import FrameType
from typing import Annotated

import typer

from hpcdeploy.cli import show
from hpcdeploy.cli.verbs import NobodyReadsError, Verbs
from hpcdeploy.errors import HpcdeployError

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
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback for errors.", envvar="HPCDEPLOY_DEBUG")] = False,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """From a locked environment to a GPU job on any Slurm or HTCondor cluster."""
    if debug:
        os.environ["HPCDEPLOY_DEBUG"] = "1"


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Let what was begun clean up after itself; the signals that come after a first one must not break into that.

    A second Ctrl-C still does. A handler, not SIG_IGN: that one would go on to the programs that are started (execve(2)).
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda _signal, _frame: None)
    raise KeyboardInterrupt


def _open_streams() -> None:
    """Let what goes to a stream that was closed before we began (None, docs of sys) go nowhere, and into no other file."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
            setattr(sys, name, os.fdopen(number, mode))
    # What the terminal's encoding cannot say is escaped, as on standard error (docs of sys), and no reason to fail.
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _run() -> None:
    try:
        app()
    finally:
        sys.stdout.flush()


def _close_output() -> None:
    """Let what is still to be written go nowhere: Python must not complain at its end (docs of signal, SIGPIPE)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    """Run the command; every error that a person is meant to read becomes one message and its own exit code."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup and a shell's & have it
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
    except OSError as error:  # a full disk, a folder that may not be written to: the machine's word is the best there is
        if os.environ.get("HPCDEPLOY_DEBUG"):
            show.pass_on_trace()
            sys.exit(HpcdeployError.exit_code)
        _close_output()
        where = f"{error.filename}: " if error.filename else ""
        show.say(f"error: {where}{error.strerror or error}; put that right, then do this again")
        sys.exit(HpcdeployError.exit_code)
    except KeyboardInterrupt:
        show.say("interrupted")
        sys.exit(130)
    except Exception:  # noqa: BLE001 - a defect of ours, whose traceback may hold words of the far side
        show.pass_on_trace()
        sys.exit(HpcdeployError.exit_code)


if __name__ == "__main__":
    main()
