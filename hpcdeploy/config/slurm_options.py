"""List the long options of ``sbatch`` and ``srun``, whether they take a value, and which releases have them.

Source: ``common_options`` in src/common/slurm_opt.c at the tags slurm-22-05-8-1, 23-02-7-1, 23-11-10-1, 24-05-4-1,
24-11-5-1, 25-05-3-1, 25-11-3-1 and 26-05-3-1. The entries of this table mean:

- ``.set_func``: both programs have the option.
- ``.set_func_sbatch`` or ``.set_func_srun``: only this program has the option.
- ``.has_arg``: whether the option takes a value. If releases differ in this, the value is optional here.

Old spellings with an underscore (``cpu_bind``) are left out.
"""

from collections.abc import Iterator, Mapping
from typing import Literal

from hpcdeploy.frozen import frozen
from hpcdeploy.plain_text import meant

Takes = Literal["nothing", "value", "either"]


@frozen
class SlurmOption:
    """A long option.

    Attributes:
        takes: Whether the option takes no value, requires a value, or both forms are valid (``either``).
        first: The first release with the option; empty for 22.05 or earlier.
        last: The last release with the option; empty for 26.05 or later.
    """

    takes: Takes
    first: str = ""
    last: str = ""

    @property
    def releases(self) -> str:
        """The releases that have the option, as text; empty if all releases from 22.05 to 26.05 have it."""
        if self.first:
            return f"{self.first} and later"
        return f"{self.last} and earlier" if self.last else ""


def _parse(takes: Takes, names: str) -> Iterator[tuple[str, SlurmOption]]:
    """Parse a list of options, and yield names and options.

    An option is written as ``NAME``, as ``NAME:FIRST-`` with the first release that has it, or as ``NAME:-LAST`` with the
    last release that has it.
    """
    for entry in names.split():
        name, _, releases = entry.partition(":")
        first, _, last = releases.partition("-")
        yield name, SlurmOption(takes=takes, first=first, last=last)


_BOTH: Mapping[str, SlurmOption] = {
    **dict(
        _parse(
            "nothing",
            "contiguous help hold overcommit oversubscribe quiet reboot spread-job test-only usage use-min-nodes verbose "
            "version consolidate-segments:25.11- spread-segments:25.11- stepmgr:24.05-",
        )
    ),
    **dict(
        _parse(
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
    **dict(_parse("either", "exclusive nice no-kill propagate oom-kill-step:24.11-")),
}

SBATCH: Mapping[str, SlurmOption] = {
    **_BOTH,
    **dict(_parse("nothing", "ignore-pbs no-requeue parsable wait external:25.05-")),
    **dict(_parse("value", "array batch export-file gid kill-on-invalid-dep uid wait-all-nodes wrap")),
    **dict(_parse("either", "get-user-env requeue resv-ports:24.05-")),
}
"""The options of ``sbatch``."""

SRUN: Mapping[str, SlurmOption] = {
    **_BOTH,
    **dict(
        _parse(
            "nothing",
            "debugger-test disable-status exact interactive label multi-prog no-allocate preserve-env quit-on-interrupt "
            "unbuffered whole async:26.05- parsable:26.05- wait-for-children:25.05-",
        )
    ),
    **dict(
        _parse(
            "value",
            "accel-bind bcast-exclude cpu-bind epilog het-group jobid mpi msg-timeout pack-group prolog relative "
            "slurmd-debug task-epilog task-prolog threads wait gid:-22.05 ignore-signals:26.05- treewidth:23.11- uid:-22.05",
        )
    ),
    **dict(
        _parse(
            "either",
            "bcast compress immediate kill-on-bad-exit overlap pty resv-ports send-libs x11 external-launcher:23.11-",
        )
    ),
}
"""The options of ``srun``."""


OF_A_PLUGIN = "+"
"""Prefix that users write before an option that is not in these lists.

Such an option comes from a plugin of the site (spank(7)) or from a release of Slurm after 26.05.
"""


def unknown(program: Literal["sbatch", "srun"], name: str, known: Mapping[str, SlurmOption]) -> str:
    """Return the message for an option `name` that no release of `program` has; `known` contains the names to suggest."""
    close = meant(name, known)
    return (
        f"{program} has no option --{name} in Slurm 22.05 to 26.05; {f'did you mean {close}? ' if close else ''}"
        f'Write "{OF_A_PLUGIN}{name}" if a plugin of the site adds the option'
    )


def long_option(name: str) -> str:
    """Return the name of an option without the prefix `OF_A_PLUGIN`, as the program knows it."""
    return name.removeprefix(OF_A_PLUGIN)


def value_problem(program: Literal["sbatch", "srun"], name: str, value: object) -> str:
    """Return a message if the option `name` has a value that it does not take, or lacks a value; empty if it is valid.

    True as `value` means the option without a value. `program` would reject such an option (getopt_long(3)).
    """
    option = (SBATCH if program == "sbatch" else SRUN).get(name)
    if value is False or option is None:
        return ""
    if option.takes == "nothing" and value is not True:
        return f"{program} --{name} takes no value; expected true"
    if option.takes == "value" and value is True:
        return f"{program} --{name} needs a value; found none"
    return ""
