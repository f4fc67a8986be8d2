"""Start containers in the background (instances), list them, and stop them. Other containers are ignored."""

import subprocess
from collections.abc import Callable, Sequence

from hpcdeploy.engine import apptainer, docker
from hpcdeploy.engine.contract import APPTAINERS, Command, Engine
from hpcdeploy.engine.instances import Instance, Instances
from hpcdeploy.errors import InstanceError
from hpcdeploy.frozen import frozen

Ask = Callable[[Command], "subprocess.CompletedProcess[str]"]
"""Run a command to its end and return its result."""


@frozen
class Known:
    """An instance, and whether it is running."""

    instance: Instance
    running: bool


def start(instance: Instance, command: Command, instances: Instances, ask: Ask) -> None:
    """Record `instance` and start it with `command`.

    If an earlier instance of the same name has ended, it is removed first.

    Raises:
        InstanceError: An instance of the same name is running, or the engine failed.
    """
    for known in states(instances, ask):
        if known.instance.name == instance.name:
            if known.running:
                raise InstanceError(
                    f"an instance {instance.name} is already running; stop it with "
                    f"'hpcdeploy instance stop {instance.name}', or use another name"
                )
            stop(known, instances, ask)
    instances.note(instance)
    done = ask(command)
    if done.returncode:
        instances.forget(instance.name)
        raise _refused(f"the instance {instance.name} did not start", done)


def states(instances: Instances, ask: Ask) -> list[Known]:
    """List the recorded instances, and whether each is running. Each engine is queried once.

    Raises:
        InstanceError: An engine failed.
    """
    all_of_them = instances.all()
    running = {engine: _running(engine, ask) for engine in dict.fromkeys(one.runner for one in all_of_them)}
    return [Known(instance=one, running=one.name in running[one.runner]) for one in all_of_them]


def find(names: Sequence[str], instances: Instances, ask: Ask) -> list[Known]:
    """Look up recorded instances by name.

    Raises:
        InstanceError: The record has no instance with one of the `names`, or an engine failed.
    """
    known = {one.instance.name: one for one in states(instances, ask)}
    for name in names:
        if name not in known:
            there = f"expected one of: {', '.join(known)}" if known else "it has started no instance"
            raise InstanceError(f"hpcdeploy has started no instance {name!r} on this machine; {there}")
    return [known[name] for name in names]


def running(name: str, instances: Instances, ask: Ask) -> Instance:
    """Return the running instance `name`.

    Raises:
        InstanceError: The instance has ended, the record has no such instance, or an engine failed.
    """
    [known] = find([name], instances, ask)
    if not known.running:
        raise InstanceError(f"the instance {name} has ended; start it again with 'hpcdeploy instance start'")
    return known.instance


def stop(known: Known, instances: Instances, ask: Ask) -> None:
    """Stop an instance, and remove it from the record. If the instance has ended, only remove it.

    Raises:
        InstanceError: The engine failed.
    """
    instance = known.instance
    commands = []
    if instance.engine in APPTAINERS:
        commands += [apptainer.stop_instance(instance.runner, instance.name)] if known.running else []
    else:
        commands += [docker.stop_instance(instance.runner, instance.name)] if known.running else []
        commands += [docker.remove_instance(instance.runner, instance.name)]
    for command in commands:
        done = ask(command)
        # Another process may have removed the container, which is the wanted result.
        if done.returncode and "no such container" not in done.stderr.lower():
            raise _refused(f"the instance {instance.name} did not stop", done)
    instances.forget(instance.name)


def _running(engine: Engine, ask: Ask) -> frozenset[str]:
    if engine.name not in APPTAINERS:
        done = ask(docker.list_instances(engine))
        if done.returncode == 0:
            return frozenset(done.stdout.split())
    else:
        done = ask(apptainer.list_instances(engine))
        if done.returncode == 0:
            try:
                return apptainer.running_instances(done.stdout)
            except (ValueError, KeyError, TypeError) as error:
                raise InstanceError(
                    f"{engine.program} instance list printed a malformed list of instances: {error}"
                ) from error
    raise _refused(f"{engine.program} could not list its instances", done)


def _refused(what: str, done: "subprocess.CompletedProcess[str]") -> InstanceError:
    output = "\n".join(line for line in (done.stderr or done.stdout).splitlines()[-5:] if line.strip())
    return InstanceError(f"{what} (exit code {done.returncode}):\n{output or '(no output)'}")
