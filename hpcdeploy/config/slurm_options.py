"""List the long options of ``sbatch`` and ``srun``, whether they take a value, and which releases have them.

Source: ``common_options`` in src/common/slurm_opt.c at the tags slurm-22-05-8-1, 23-02-7-1, 23-11-10-1, 24-05-4-1,
24-11-5-1, 25-05-3-1, 25-11-3-1 and 26-05-3-1: an entry with ``.set_func`` is an option of both programs, one with
``.set_func_sbatch`` or ``.set_func_srun`` only of that program, and ``.has_arg`` tells whether it takes a value. Old
spellings with an underscore (``cpu_bind``) are left out. If releases differ, the value is optional here.
"""

from collections.abc import Iterator, Mapping
from typing import Literal

from hpcdeploy.frozen import frozen
from hpcdeploy.plain_text import meant

Takes = Literal["nothing", "value", "either"]


@frozen
class SlurmOption:
    """A long option: the value that it takes, and the first and last release that has it.

    An empty release means before 22.05, or after 26.05.
    """

    takes: Takes
    first: str = ""
    last: str = ""

    @property
    def releases(self) -> str:
        """The releases with the option as text; empty if all from 22.05 to 26.05 have it."""
        if self.first:
            return f"{self.first} and later"
        return f"{self.last} and earlier" if self.last else ""


def _read(takes: Takes, names: str) -> Iterator[tuple[str, SlurmOption]]:
    """Parse names of options: ``NAME``, ``NAME:FIRST-`` for one added in a release, ``NAME:-LAST`` for a removed one."""
    for entry in names.split():
        name, _, releases = entry.partition(":")
        first, _, last = releases.partition("-")
        yield name, SlurmOption(takes=takes, first=first, last=last)


_BOTH: Mapping[str, SlurmOption] = {
    **dict(
        _read(
            "nothing",
            "contiguous help hold overcommit oversubscribe quiet reboot spread-job test-only usage use-min-nodes verbose "
            "version consolidate-segments:25.11- spread-segments:25.11- stepmgr:24.05-",
        )
    ),
    **dict(
        _read(
            "value",
            "account acctg-freq bb bbf begin chdir cluster cluster-constraint clusters comment constraint container context "
            "core-spec cores-per-socket cpu-freq cpus-per-gpu cpus-per-task deadline delay-boot dependency distribution "
            "error exclude export extra-node-info gpu-bind gpu-freq gpus gpus-per-node gpus-per-socket gpus-per-task gres "
            "gres-flags hint input job-name licenses mail-type mail-user mcs-label mem mem-bind mem-per-cpu mem-per-gpu "
            "mincpus network nodefile nodelist nodes ntasks ntasks-per-core ntasks-per-gpu ntasks-per-node "
            "ntasks-per-socket ntasks-per-tres open-mode output partition prefer priority profile qos reservation signal "
            "sockets-per-node switches tasks-per-node thread-spec threads-per-core time time-min tmp wckey "
            "autocomplete:23.02- container-id:23.02- container-type:26.05- extra:23.02- mem-update:26.05- power:-23.11 "
            "resources:25.11- segment:24.05- tres-bind:23.11- tres-per-task:23.02-",
        )
    ),
    **dict(_read("either", "exclusive nice no-kill propagate oom-kill-step:24.11-")),
}

SBATCH: Mapping[str, SlurmOption] = {
    **_BOTH,
    **dict(_read("nothing", "ignore-pbs no-requeue parsable wait external:25.05-")),
    **dict(_read("value", "array batch export-file gid kill-on-invalid-dep uid wait-all-nodes wrap")),
    **dict(_read("either", "get-user-env requeue resv-ports:24.05-")),
}
"""The options of ``sbatch``."""

SRUN: Mapping[str, SlurmOption] = {
    **_BOTH,
    **dict(
        _read(
            "nothing",
            "debugger-test disable-status exact interactive label multi-prog no-allocate preserve-env quit-on-interrupt "
            "unbuffered whole async:26.05- parsable:26.05- wait-for-children:25.05-",
        )
    ),
    **dict(
        _read(
            "value",
            "accel-bind bcast-exclude cpu-bind epilog het-group jobid mpi msg-timeout pack-group prolog relative "
            "slurmd-debug task-epilog task-prolog threads wait gid:-22.05 ignore-signals:26.05- treewidth:23.11- uid:-22.05",
        )
    ),
    **dict(
        _read(
            "either",
            "bcast compress immediate kill-on-bad-exit overlap pty resv-ports send-libs x11 external-launcher:23.11-",
        )
    ),
}
"""The options of ``srun``."""


OF_A_PLUGIN = "+"
"""Prefix of an option that a plugin of the site adds to both programs (spank(7)), or that a later release has."""


def unknown(program: Literal["sbatch", "srun"], name: str, known: Mapping[str, SlurmOption]) -> str:
    """Return the message for an option that no release of `program` has; `known` are the options to suggest."""
    close = meant(name, known)
    return (
        f"no {program} from Slurm 22.05 to 26.05 has an option --{name}; {f'did you mean {close}? ' if close else ''}"
        f'Write "{OF_A_PLUGIN}{name}" for an option that a plugin of the site adds'
    )


def long_option(name: str) -> str:
    """Return the program's name of an option: without the prefix for plugins."""
    return name.removeprefix(OF_A_PLUGIN)


def badly_given(program: Literal["sbatch", "srun"], name: str, value: object) -> str:
    """Return the error of getopt_long(3) for an option's `value` (True: no value); empty if it is valid."""
    option = (SBATCH if program == "sbatch" else SRUN).get(name)
    if value is False or option is None:
        return ""
    if option.takes == "nothing" and value is not True:
        return f"{program} --{name} takes no value; expected true"
    if option.takes == "value" and value is True:
        return f"{program} --{name} needs a value; found none"
    return ""
