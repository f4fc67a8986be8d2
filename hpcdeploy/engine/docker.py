"""docker's and podman's command lines, which are nearly the same: containers from images of a registry."""

from collections.abc import Mapping, Sequence

from hpcdeploy.engine.contract import SCHEME, Command, Container, Engine, EngineName, GpuName, csv_field
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Bind

LABEL = "hpcdeploy.instance"
_AMD = ("--device", "/dev/kfd", "--device", "/dev/dri", "--group-add", "video")
_GPU_FLAGS: Mapping[EngineName, Mapping[GpuName, tuple[str, ...]]] = {
    "docker": {"nvidia": ("--gpus", "all"), "amd": _AMD, "": ()},
    # podman knows GPUs as CDI devices (podman-run(1), --device; NVIDIA container toolkit, "Support for CDI").
    "podman": {"nvidia": ("--device", "nvidia.com/gpu=all"), "amd": _AMD, "": ()},
}
_OWN_FLAGS: Mapping[EngineName, tuple[str, ...]] = {
    "docker": (),
    # SELinux would close the mounted folder to the container, and a relabelled one to others (podman-run(1), label=disable).
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
    """Start a container that is gone afterwards; `words` go to the image's entry point, none leave it its own.

    `terminal`: our input and output are one, and so will the container's be. Raises `ConfigError` for what is no UTF-8.
    """
    flags = ("--rm", *_talking(terminal=terminal), *_flags(engine, container), *_variables(environment))
    return _command(engine, "run", *flags, _image(container), *words)


def start_instance(
    engine: Engine,
    container: Container,
    name: str,
    words: tuple[str, ...],
    environment: tuple[tuple[str, str], ...],
) -> Command:
    """Start a container that goes on by itself, with a label by which it is known as ours."""
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
    """Start a program in a running container, with the container's variables and `environment`; no entry point is asked."""
    place = ("--workdir", workdir) if workdir else ()
    return _command(engine, "exec", *_talking(terminal=terminal), *place, *_variables(environment), name, *words)


def list_instances(engine: Engine) -> Command:
    """Ask for the names of the containers with our label that run; one a line."""
    return _command(engine, "ps", "--filter", f"label={LABEL}", "--format", "{{.Names}}")


def stop_instance(engine: Engine, name: str) -> Command:
    """Stop a container; what runs in it gets SIGTERM, and after ten seconds SIGKILL."""
    return _command(engine, "stop", name)


def remove_instance(engine: Engine, name: str) -> Command:
    """Remove what a stopped container left."""
    return _command(engine, "rm", name)


def _talking(*, terminal: bool) -> tuple[str, ...]:
    return ("--interactive", "--tty") if terminal else ("--interactive",)


def _flags(engine: Engine, container: Container) -> list[str]:
    flags = [*_OWN_FLAGS[engine.name], *_GPU_FLAGS[engine.name][container.gpu]]
    for bind in container.binds:
        flags += ["--mount", _mount(bind)]
    if container.workdir:
        flags += ["--workdir", container.workdir]
    if container.plain_http and engine.name == "podman":
        # docker takes the registries of 127.0.0.0/8 to speak no TLS by itself (dockerd, insecure-registries).
        flags.append("--tls-verify=false")
    return flags


def _mount(bind: Bind) -> str:
    # --volume would make a missing source as root; --mount says that it is missing (docker run, "--mount").
    fields = ("type=bind", csv_field("source", bind.source), csv_field("target", bind.destination or bind.source))
    return ",".join((*fields, *(["readonly"] if bind.read_only else [])))


def _variables(environment: Sequence[tuple[str, str]]) -> list[str]:
    return [word for name, value in environment for word in ("--env", f"{name}={value}")]


def _image(container: Container) -> str:
    return container.image.removeprefix(SCHEME)


def _command(engine: Engine, *words: str) -> Command:
    return Command(argv=(engine.program, *_checked(words)))


def _checked(words: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse bytes that are no UTF-8: the engines carry words as JSON, where those become other characters."""
    for word in words:
        if any("\udc80" <= character <= "\udcff" for character in word):
            raise ConfigError(f"{word!r} is not UTF-8, which docker and podman cannot pass on; put it into a file")
    return words
