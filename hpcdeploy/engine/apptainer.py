"""Build command lines of Apptainer and SingularityCE for a container on this machine, with the flags of cluster jobs."""

from pathlib import Path

from hpcdeploy import __version__, shell
from hpcdeploy.checked_values import read_json
from hpcdeploy.engine.contract import OWN_PYTHON, SCHEME, Command, Container, Engine, csv_field
from hpcdeploy.errors import ConfigError
from hpcdeploy.gpus import flag_of
from hpcdeploy.templates import refuse_former

INSTANCE = "instance://"

QUIET = "--quiet"
"""Global option that hides messages of the level INFO, such as "gocryptfs not found" at each start of Apptainer 1.3 and
later. Warnings and errors stay (``setSylogMessageLevel`` in Apptainer's cmd/internal/cli/apptainer.go).
"""


def program_text(
    command: tuple[str, ...], environment: tuple[tuple[str, str], ...], *, overrides: Path | None = None
) -> str:
    """Return the program that runs inside the container: it sets the variables and becomes the command.

    Args:
        command: The command; if empty, the image's run script runs.
        environment: Variables to set.
        overrides: The project's folder.

    Raises:
        ConfigError: A word contains a NUL.
        TemplateError: The project overrides a template that no longer exists.
    """
    refuse_former(overrides)
    lines = [
        "#!/bin/sh",
        f"# Written by hpcdeploy {__version__} for a command on this machine. This runs inside the container. The command",
        "# and its variables are quoted here once, and nothing else interprets them.",
        *(f"export {name}={shell.word(value)}" for name, value in environment),
        "# Without a command, run the image's own run script.",
        f"set -- {shell.words(command or ('/.singularity.d/runscript',))}",
        'exec "$@"',
    ]
    return "\n".join(lines) + "\n"


def run(engine: Engine, container: Container, program: str, folder: str) -> Command:
    """Return the command that runs `program` in a container; `folder` holds the program while it runs."""
    place = ("--pwd", container.workdir) if container.workdir else ()
    # A download of docker:// takes long, and its progress has the level INFO.
    quiet = () if container.image.startswith(SCHEME) else (QUIET,)
    start = (engine.program, *quiet, "exec", *_flags(container, folder), *place)
    argv = (*start, container.image, "/bin/sh", f"{folder}/program.sh")
    return Command(argv=argv, without=(*OWN_PYTHON, *container.without), folder=folder, program=program)


def run_in_instance(engine: Engine, name: str, workdir: str, program: str, folder: str) -> Command:
    """Return the command that runs `program` in a running instance, which sees `folder` through a bind of its parent."""
    place = ("--pwd", workdir) if workdir else ()
    argv = (engine.program, QUIET, "exec", "--no-eval", *place, f"{INSTANCE}{name}", "/bin/sh", f"{folder}/program.sh")
    return Command(argv=argv, without=OWN_PYTHON, folder=folder, program=program)


def start_instance(
    engine: Engine,
    container: Container,
    name: str,
    words: tuple[str, ...],
    environment: tuple[tuple[str, str], ...],
    folder: str,
) -> Command:
    """Return the command that starts an instance, whose start script runs with the arguments `words`.

    It starts in the current working folder, because there is no option for another one. A start script has no wrapper of
    hpcdeploy's, so Apptainer itself sets the variables.

    Args:
        engine: Apptainer or SingularityCE.
        container: The image and its settings.
        name: The name of the instance.
        words: Arguments of the start script.
        environment: Variables to set.
        folder: A folder to bind, for programs that run in the instance later.

    Raises:
        ConfigError: Apptainer would change an argument or a value.
    """
    prefix = "SINGULARITYENV_" if engine.name == "singularity" else "APPTAINERENV_"
    for what, value in (*environment, *(("an argument of the command", word) for word in words)):
        _refuse_mangled(what, value)
    variables = tuple((prefix + key, value) for key, value in environment)
    argv = (engine.program, "instance", "start", *_flags(container, folder), container.image, name, *words)
    return Command(argv=argv, variables=variables, without=(*OWN_PYTHON, *container.without))


def list_instances(engine: Engine) -> Command:
    """Return the command that lists running instances, including those not started by hpcdeploy."""
    return Command(argv=(engine.program, "instance", "list", "--json"))


def running_instances(answer: str) -> frozenset[str]:
    """Return the names in the output of ``instance list --json``.

    Raises:
        ValueError: The output is malformed.
    """
    found = read_json(answer)
    return frozenset(str(one["instance"]) for one in found["instances"])


def stop_instance(engine: Engine, name: str) -> Command:
    """Return the command that stops an instance with SIGTERM, and SIGKILL after 10 s (apptainer instance stop --help)."""
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
    """Check that no character would be changed on its way into the instance (seen with Apptainer 1.4.5).

    Variables pass through a shell interpreter inside Apptainer, which uses U+0081 as a marker (mvdan.cc/sh,
    syntax/lexer.go, escNewl), and then loses every variable. Bytes that are not UTF-8 become question marks in its JSON.

    Raises:
        ConfigError: There is such a character.
    """
    if any("\x80" <= character <= "\x9f" or "\ud800" <= character <= "\udfff" for character in value):
        raise ConfigError(
            f"{what} contains the characters {value!r}, which Apptainer cannot pass to an instance; "
            "put them into a file, or start the command with 'hpcdeploy run'"
        )
