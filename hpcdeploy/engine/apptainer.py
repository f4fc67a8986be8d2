"""Build command lines of Apptainer and SingularityCE that run a container on this machine.

The flags are those that jobs on a cluster use.
"""

from pathlib import Path

from hpcdeploy import __version__, shell
from hpcdeploy.checked_values import read_json
from hpcdeploy.engine.contract import OWN_PYTHON, SCHEME, Command, Container, Engine, csv_field
from hpcdeploy.errors import ConfigError
from hpcdeploy.gpus import flag_of
from hpcdeploy.templates import refuse_former

INSTANCE = "instance://"

QUIET = "--quiet"
"""Global option that hides messages of the level INFO; warnings and errors are still shown.

An example of such a message is "gocryptfs not found", which Apptainer 1.3 and later prints at each start. Source:
``setSylogMessageLevel`` in Apptainer's cmd/internal/cli/apptainer.go.
"""


def program_text(
    command: tuple[str, ...], environment: tuple[tuple[str, str], ...], *, overrides: Path | None = None
) -> str:
    """Return the shell script that runs inside the container: it sets the variables and executes the command.

    Args:
        command: The program and its arguments; if empty, the script executes the image's own run script.
        environment: Names and values of the variables to set.
        overrides: The project's folder, which may contain templates that replace hpcdeploy's.

    Raises:
        ConfigError: An argument or a value contains a NUL.
        TemplateError: `overrides` contains a template that hpcdeploy no longer uses.
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
    """Return the command that runs `program` in a container; `folder` contains the program's file while it runs."""
    place = ("--pwd", container.workdir) if container.workdir else ()
    # Without QUIET for docker://, because the progress of a long download is printed at the level INFO.
    quiet = () if container.image.startswith(SCHEME) else (QUIET,)
    start = (engine.program, *quiet, "exec", *_flags(container, folder), *place)
    argv = (*start, container.image, "/bin/sh", f"{folder}/program.sh")
    return Command(argv=argv, without=(*OWN_PYTHON, *container.without), folder=folder, program=program)


def run_in_instance(engine: Engine, name: str, workdir: str, program: str, folder: str) -> Command:
    """Return the command that runs `program` in a running instance.

    The instance must have a bind of the parent of `folder`, so that the program's file is visible in it.
    """
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

    The instance starts in the current working folder, because Apptainer has no option for another one. The variables are
    passed to Apptainer as ``APPTAINERENV_NAME``, because the start script does not run `program_text`, which sets them in
    other containers.

    Args:
        engine: Apptainer or SingularityCE.
        container: The image, and the resources of this machine that the container gets.
        name: The name of the instance.
        words: Arguments of the start script.
        environment: Names and values of the variables to set.
        folder: A folder to bind, in which later commands put the programs that they run in the instance.

    Raises:
        ConfigError: An argument or a value contains a character that Apptainer would change.
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
    """Return the names of the instances in the output of ``instance list --json``.

    Raises:
        ValueError: The output is not JSON.
        KeyError: An expected key is missing.
        TypeError: A value has an unexpected type.
    """
    found = read_json(answer)
    return frozenset(str(one["instance"]) for one in found["instances"])


def stop_instance(engine: Engine, name: str) -> Command:
    """Return the command that stops an instance.

    Apptainer sends SIGTERM, and SIGKILL if the instance still runs after 10 s (apptainer instance stop --help).
    """
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
    """Check that Apptainer passes `value` to an instance unchanged; `what` names the value in the message.

    Two kinds of characters are rejected (both effects were seen with Apptainer 1.4.5):

    - U+0080 to U+009F: Apptainer passes variables through a shell interpreter that uses U+0081 as a marker (mvdan.cc/sh,
      syntax/lexer.go, escNewl). A value with this character makes Apptainer lose all variables.
    - Surrogates, which stand for bytes that are not UTF-8: Apptainer writes the arguments as JSON, where these bytes
      become question marks.

    Raises:
        ConfigError: `value` contains such a character.
    """
    if any("\x80" <= character <= "\x9f" or "\ud800" <= character <= "\udfff" for character in value):
        raise ConfigError(
            f"{what} is {value!r}, which has characters that Apptainer cannot pass to an instance; expected UTF-8 without "
            "U+0080 to U+009F: put the value into a file, or start the command with 'hpcdeploy run'"
        )
