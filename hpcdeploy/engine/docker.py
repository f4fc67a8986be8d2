"""Build command lines of docker and podman, which run images of a registry and have nearly the same options."""

from collections.abc import Mapping, Sequence

from hpcdeploy.engine.contract import SCHEME, Command, Container, Engine, EngineName, GpuName, csv_field
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Bind

LABEL = "hpcdeploy.instance"
_AMD = ("--device", "/dev/kfd", "--device", "/dev/dri", "--group-add", "video")
_GPU_FLAGS: Mapping[EngineName, Mapping[GpuName, tuple[str, ...]]] = {
    "docker": {"nvidia": ("--gpus", "all"), "amd": _AMD, "": ()},
    # podman selects GPUs as CDI devices (podman-run(1), --device; NVIDIA container toolkit, "Support for CDI").
    "podman": {"nvidia": ("--device", "nvidia.com/gpu=all"), "amd": _AMD, "": ()},
}
_OWN_FLAGS: Mapping[EngineName, tuple[str, ...]] = {
    "docker": (),
    # SELinux denies a container access to folders that are mounted without a new label. A new label could deny other
    # programs the access. So the labels are disabled (podman-run(1), label=disable).
    "podman": ("--security-opt", "label=disable"),
}


def run(
    engine: Engine,
    container: Container,
    words: tuple[str, ...],
    environment: tuple[tuple[str, str], ...],
    *,
    terminal: bool,
) -> Command:
    """Return the command that runs a container and removes it afterwards.

    Args:
        engine: docker or podman.
        container: The image, and the resources of this machine that the container gets.
        words: Arguments for the image's entry point; if empty, the image's default command runs.
        environment: Names and values of the variables to set.
        terminal: Whether the container gets a terminal; true if hpcdeploy's standard input and output are both terminals.

    Raises:
        ConfigError: An argument or value is not UTF-8.
    """
    flags = ("--rm", *_stdin_flags(terminal=terminal), *_flags(engine, container), *_variables(environment))
    return _command(engine, "run", *flags, _image(container), *words)


def start_instance(
    engine: Engine,
    container: Container,
    name: str,
    words: tuple[str, ...],
    environment: tuple[tuple[str, str], ...],
) -> Command:
    """Return the command that starts a container in the background, with a label (`LABEL`) by which hpcdeploy finds it.

    Raises:
        ConfigError: An argument or value is not UTF-8.
    """
    flags = ("--detach", "--name", name, "--label", f"{LABEL}={name}", *_flags(engine, container), *_variables(environment))
    return _command(engine, "run", *flags, _image(container), *words)


def run_in_instance(
    engine: Engine,
    name: str,
    workdir: str,
    words: tuple[str, ...],
    environment: tuple[tuple[str, str], ...],
    *,
    terminal: bool,
) -> Command:
    """Return the command that runs the program `words` with `environment` in a running container.

    The image's entry point is not used.

    Raises:
        ConfigError: An argument or value is not UTF-8.
    """
    place = ("--workdir", workdir) if workdir else ()
    return _command(engine, "exec", *_stdin_flags(terminal=terminal), *place, *_variables(environment), name, *words)


def list_instances(engine: Engine) -> Command:
    """Return the command that prints the names of running containers with hpcdeploy's label, one per line."""
    return _command(engine, "ps", "--filter", f"label={LABEL}", "--format", "{{.Names}}")


def stop_instance(engine: Engine, name: str) -> Command:
    """Return the command that stops a container: with SIGTERM, and with SIGKILL if it still runs after 10 s."""
    return _command(engine, "stop", name)


def remove_instance(engine: Engine, name: str) -> Command:
    """Return the command that removes a stopped container."""
    return _command(engine, "rm", name)


def _stdin_flags(*, terminal: bool) -> tuple[str, ...]:
    return ("--interactive", "--tty") if terminal else ("--interactive",)


def _flags(engine: Engine, container: Container) -> list[str]:
    flags = [*_OWN_FLAGS[engine.name], *_GPU_FLAGS[engine.name][container.gpu]]
    for bind in container.binds:
        flags += ["--mount", _mount(bind)]
    if container.workdir:
        flags += ["--workdir", container.workdir]
    if container.plain_http and engine.name == "podman":
        # docker has no such flag. It uses plain HTTP for registries in 127.0.0.0/8 (dockerd, insecure-registries).
        flags.append("--tls-verify=false")
    return flags


def _mount(bind: Bind) -> str:
    # --mount fails if the source is missing; --volume would create the source as a folder of root (docker run, "--mount").
    fields = ("type=bind", csv_field("source", bind.source), csv_field("target", bind.destination or bind.source))
    return ",".join((*fields, *(["readonly"] if bind.read_only else [])))


def _variables(environment: Sequence[tuple[str, str]]) -> list[str]:
    return [word for name, value in environment for word in ("--env", f"{name}={value}")]


def _image(container: Container) -> str:
    return container.image.removeprefix(SCHEME)


def _command(engine: Engine, *words: str) -> Command:
    return Command(argv=(engine.program, *_check_utf8(words)))


def _check_utf8(words: tuple[str, ...]) -> tuple[str, ...]:
    """Check that all `words` are UTF-8, and return them.

    The engines transfer arguments as JSON, which would change bytes that are not UTF-8.

    Raises:
        ConfigError: An argument is not UTF-8.
    """
    for word in words:
        if any("\udc80" <= character <= "\udcff" for character in word):
            raise ConfigError(
                f"the argument {word!r} is not UTF-8, so docker and podman would change it; expected UTF-8; put the value "
                "into a file"
            )
    return words
