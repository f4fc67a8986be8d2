"""Options of sbatch and srun: what the lab's own programs have, and what of srun's reaches the processes."""

import re
from collections.abc import Mapping
from dataclasses import replace

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.config.slurm_options import SBATCH, SRUN, SlurmOption
from hpcdeploy.flows import logs
from hpcdeploy.job import Job
from hpcdeploy.remote.connections import Connections
from hpcdeploy.run import State
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.cluster.driving import output_of, submit_job, wait_for

# --version ends the program before it does anything: only what getopt_long(3) says of the option before it is looked at.
ASKING = 'for option in $2; do echo "$option $("$1" "--$option=1" --version 2>&1 </dev/null | tr "\\n" " ")"; done'


def known_to(lab: Lab, program: str, options: Mapping[str, SlurmOption]) -> dict[str, str]:
    words = " ".join([*options, "cpus-per-node"])
    done = inside(lab, ["bash", "-c", ASKING, "asking", program, words], user=lab.user)
    return dict(line.split(" ", 1) for line in done.stdout.decode().splitlines())


def is_in(option: SlurmOption, release: tuple[int, ...]) -> bool:
    def number(words: str) -> tuple[int, ...]:
        return tuple(map(int, words.split(".")))

    return not (option.first and release < number(option.first)) and not (option.last and release > number(option.last))


@pytest.mark.parametrize(("program", "options"), [("sbatch", SBATCH), ("srun", SRUN)])
def test_the_table_is_that_of_the_program_itself(program: str, options: Mapping[str, SlurmOption], lab: Lab) -> None:
    said = inside(lab, [program, "--version"], user=lab.user).stdout.decode()
    release = tuple(map(int, re.findall("[0-9]+", said)[:2]))
    answers = known_to(lab, program, options)
    there = {name for name, option in options.items() if is_in(option, release)}
    # What begins the name of another option is taken for that (getopt_long(3)): 22.05 reads --extra as --extra-node-info.
    begins = {name for name in options if any(other.startswith(name) for other in there)}
    absent = {name for name, words in answers.items() if "unrecognized option" in words}
    assert absent == (options.keys() - there - begins) | {"cpus-per-node"}
    without = {name for name, words in answers.items() if "allow an argument" in words}
    differs = {name for name, option in options.items() if option.takes == "either"}
    assert without - differs == {name for name in there if options[name].takes == "nothing"}


SEEN = "import os; print(*(os.environ.get(name) for name in ('SLURM_PROCID', 'HOME', 'OF_SETUP', 'OWN')))"


@pytest.mark.parametrize("several", [False, True], ids=["one process", "two processes"])
def test_what_is_sruns_reaches_the_step_that_starts_the_processes(
    several: bool, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    cluster = replace(cluster, setup=(*cluster.setup, "export OF_SETUP=seen"))
    job = Job(
        name="one",
        image="test",
        command=("python3", "-c", SEEN),
        environment=(("OWN", "own"),),
        tasks_per_node=2 if several else None,
        workdir="$HOME" if several else "",
        srun=(("label", True), ("cpu-bind", "none"), ("wait", "900"), ("export", "NONE" if several else "ALL")),
    )
    status = wait_for(submit_job(job, "slurm", cluster, delivery, connections, store).run, cluster, connections, store)
    assert status.state is State.COMPLETED, logs.read(status, 0, connections.to(cluster)).err.decode()
    lines = sorted(output_of(status, cluster, connections).splitlines())
    home = lines[0].split()[2]
    assert home.startswith("/")
    assert lines == [f"{rank}: {rank} {home} {None if several else 'seen'} own" for rank in range(1 + several)]
