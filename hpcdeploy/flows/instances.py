"""Instances: start a container that goes on by itself, tell which ones run, stop them. Only those started from here."""

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hpcdeploy.engine import apptainer, docker
from hpcdeploy.engine.contract import APPTAINERS, Command, Engine
from hpcdeploy.engine.instances import Instance, Instances
from hpcdeploy.errors import InstanceError

Ask = Callable[[Command], "subprocess.CompletedProcess[str]"]
"""Runs a command to its end and returns what it said."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """An instance, and whether it still runs."""

    instance: Instance
    running: bool


def start(instance: Instance, command: Command, instances: Instances, ask: Ask) -> None:
    """Note `instance` and start it by `command`; an earlier one of its name must have ended, and is cleared away.

    Raises `InstanceError` where one of that name runs, or the engine refuses.
    """
    for known in states(instances, ask):
        if known.instance.name == instance.name:
            if known.running:
                raise InstanceError(
                    f"an instance {instance.name} runs already; stop it with 'hpcdeploy instance stop {instance.name}', "
                    "or give the new one another name"
                )
            stop(known, instances, ask)
    instances.note(instance)
    done = ask(command)
    if done.returncode:
        instances.forget(instance.name)
        raise _refused(f"the instance {instance.name} did not start", done)


def states(instances: Instances, ask: Ask) -> list[Known]:
    """List the instances and tell of each whether it runs; each engine that has some is asked once."""
    all_of_them = instances.all()
    running = {engine: _running(engine, ask) for engine in dict.fromkeys(one.runner for one in all_of_them)}
    return [Known(instance=one, running=one.name in running[one.runner]) for one in all_of_them]


def find(names: Sequence[str], instances: Instances, ask: Ask) -> list[Known]:
    """Look instances up by name; raises `InstanceError` for one that was not started from here."""
    known = {one.instance.name: one for one in states(instances, ask)}
    for name in names:
        if name not in known:
            there = f"those are {', '.join(known)}" if known else "there are none"
            raise InstanceError(f"no instance {name!r} was started by hpcdeploy on this machine; {there}")
    return [known[name] for name in names]


def running(name: str, instances: Instances, ask: Ask) -> Instance:
    """Return the instance of that name; raises `InstanceError` where it does not run."""
    [known] = find([name], instances, ask)
    if not known.running:
        raise InstanceError(f"the instance {name} has ended; start it again with 'hpcdeploy instance start'")
    return known.instance


def stop(known: Known, instances: Instances, ask: Ask) -> None:
    """Stop an instance and forget it; one that has ended already is only forgotten. Raises `InstanceError`."""
    instance = known.instance
    commands = []
    if instance.engine in APPTAINERS:
        commands += [apptainer.stop_instance(instance.runner, instance.name)] if known.running else []
    else:
        commands += [docker.stop_instance(instance.runner, instance.name)] if known.running else []
        commands += [docker.remove_instance(instance.runner, instance.name)]
    for command in commands:
        done = ask(command)
        # Somebody else may have removed it, which is what was wanted.
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
                raise InstanceError(f"{engine.program} instance list printed no list of instances: {error}") from error
    raise _refused(f"{engine.program} could not list its instances", done)


def _refused(what: str, done: "subprocess.CompletedProcess[str]") -> InstanceError:
    said = "\n".join(line for line in (done.stderr or done.stdout).splitlines()[-5:] if line.strip())
    return InstanceError(f"{what} (exit code {done.returncode}):\n{said or '(it said nothing)'}")
