"""What a person should know of a job that is allowed all the same: notes, printed before it is submitted."""

import re
from collections.abc import Iterator

from hpcdeploy.cluster import SchedulerName
from hpcdeploy.config.slurm_options import SBATCH, SRUN
from hpcdeploy.job import Job


def job_notes(job: Job, scheduler: SchedulerName) -> tuple[str, ...]:
    """Return the notes on what `job` passes on to `scheduler`."""
    return tuple(_of_releases(job) if scheduler == "slurm" else _of_attributes(job))


def _of_releases(job: Job) -> Iterator[str]:
    """Name options that not every release of Slurm has: which one a cluster runs is not known before it is asked."""
    for table, given, program, options in (("slurm", job.slurm, "sbatch", SBATCH), ("srun", job.srun, "srun", SRUN)):
        for name, value in given:
            if value is not False and name in options and options[name].releases:
                yield f"{table}.{name}: {program} has --{name} in Slurm {options[name].releases}; others refuse it"


def _of_attributes(job: Job) -> Iterator[str]:
    """Name attributes whose value is a bare word: a reference to another attribute, and undefined where there is none.

    A string of the ClassAd language stands in double quotes (condor_submit(1), "+<attribute> = <value>"; the HTCondor manual,
    "ClassAd Syntax"). A word with a dash is a subtraction. A reference that names its scope, ``TARGET.Memory``, is meant.
    """
    for name, value in job.htcondor:
        word = str(value).strip()
        if not re.match(r"(?i)\+|my\.", name) or value is True:
            continue
        if not re.fullmatch(r"(?i)(?!(?:my|target|parent)\.)[a-z_][a-z0-9_]*([.-][a-z0-9_]+)*", word):
            continue
        if word.lower() not in {"true", "false", "undefined", "error"}:
            yield (
                f'htcondor."{name}": {word} without quotes is a reference to another attribute of the job; '
                f"""for a string write '"{word}"'"""
            )
