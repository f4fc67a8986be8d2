"""Apptainer's and SingularityCE's command lines for a container on this machine; the same flags as in a job on a cluster."""

from collections.abc import Callable, Mapping
from pathlib import Path

from hpcdeploy import __version__, shell
from hpcdeploy.engine.contract import OWN_PYTHON, SCHEME, Command, Container, Engine, csv_field
from hpcdeploy.errors import ConfigError
from hpcdeploy.gpus import flag_of
from hpcdeploy.json_text import read_json
from hpcdeploy.templates import render

INSTANCE = "instance://"
_FILTERS: Mapping[str, Callable[..., str]] = {"word": shell.word, "words": shell.words}


def program_text(
    command: tuple[str, ...], environment: tuple[tuple[str, str], ...], *, overrides: Path | None = None
) -> str:
    """Render what runs inside the container: the job's own wrapper, without what only a job has.

    Without `command` it is the image's run script. Raises `TemplateError`.
    """
    values = {"version": __version__, "run_id": "", "command": command, "environment": environment}
    return render("login_templates/program.sh", values, filters=_FILTERS, overrides=overrides)


def run(engine: Engine, container: Container, program: str, folder: str) -> Command:
    """Start a container for `program`, which lies in `folder` meanwhile."""
    place = ("--pwd", container.workdir) if container.workdir else ()
    argv = (engine.program, "exec", *_flags(container, folder), *place, container.image, "/bin/sh", f"{folder}/program.sh")
    return Command(argv=argv, without=(*OWN_PYTHON, *container.without), folder=folder, program=program)


def run_in_instance(engine: Engine, name: str, workdir: str, program: str, folder: str) -> Command:
    """Start `program` in a running instance, which sees `folder` because what is above it was bound when it was started."""
    place = ("--pwd", workdir) if workdir else ()
    argv = (engine.program, "exec", "--no-eval", *place, f"{INSTANCE}{name}", "/bin/sh", f"{folder}/program.sh")
    return Command(argv=argv, without=OWN_PYTHON, folder=folder, program=program)


def start_instance(
    engine: Engine,
    container: Container,
    name: str,
    words: tuple[str, ...],
    environment: tuple[tuple[str, str], ...],
    folder: str,
) -> Command:
    """Start an instance: the image's start script runs in it with `words`; `folder` is bound for programs to come.

    It begins in our working folder: there is no option to say another. A start script has no wrapper of ours around it, so
    Apptainer itself hands the variables over. Raises `ConfigError` for what it gets wrong.
    """
    prefix = "SINGULARITYENV_" if engine.name == "singularity" else "APPTAINERENV_"
    for what, value in (*environment, *(("a word of the command", word) for word in words)):
        _refuse_mangled(what, value)
    variables = tuple((prefix + key, value) for key, value in environment)
    argv = (engine.program, "instance", "start", *_flags(container, folder), container.image, name, *words)
    return Command(argv=argv, variables=variables, without=(*OWN_PYTHON, *container.without))


def list_instances(engine: Engine) -> Command:
    """Ask which instances run, whoever started them; `running_instances` reads the answer."""
    return Command(argv=(engine.program, "instance", "list", "--json"))


def running_instances(answer: str) -> frozenset[str]:
    """Read the names out of what ``instance list --json`` printed; raises `ValueError` where it is something else."""
    found = read_json(answer)
    return frozenset(str(one["instance"]) for one in found["instances"])


def stop_instance(engine: Engine, name: str) -> Command:
    """Stop an instance; what runs in it gets SIGTERM, and after ten seconds SIGKILL (apptainer instance stop --help)."""
    return Command(argv=(engine.program, "instance", "stop", name))


def _flags(container: Container, folder: str) -> list[str]:
    flags = ["--no-eval", *([flag_of(container.gpu)] if container.gpu else [])]
    flags += [] if container.workdir else ["--no-mount", "cwd"]
    for bind in container.binds:
        flags += ["--mount", _mount(bind.source, bind.destination) + (",ro" if bind.read_only else "")]
    flags += ["--mount", _mount(folder, folder)]
    if container.plain_http and container.image.startswith(SCHEME):
        flags.append("--no-https")
    return flags


def _mount(source: str, destination: str) -> str:
    return f"type=bind,{csv_field('source', source)},{csv_field('destination', destination or source)}"


def _refuse_mangled(what: str, value: str) -> None:
    """Refuse characters that do not come out as they went in (seen with Apptainer 1.4.5).

    Variables pass through a shell interpreter inside Apptainer, which uses U+0081 as a mark of its own (mvdan.cc/sh,
    syntax/lexer.go, escNewl) and loses every variable then; bytes that are no UTF-8 become question marks in its JSON.
    """
    if any("\x80" <= character <= "\x9f" or "\ud800" <= character <= "\udfff" for character in value):
        raise ConfigError(
            f"{what} holds the characters {value!r}, which Apptainer cannot hand to an instance; "
            "write them into a file, or start the command with 'hpcdeploy run'"
        )
