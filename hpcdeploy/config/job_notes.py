"""Find settings of a valid job that may not do what the user expects; submit prints these notes before the submission."""

import re
from collections.abc import Iterator

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.config.slurm_options import SBATCH, SRUN
from hpcdeploy.job import Job


def job_notes(job: Job, cluster: Cluster, scheduler: SchedulerName) -> tuple[str, ...]:
    """Return the notes on `job` for `scheduler` of `cluster`."""
    if scheduler == "htcondor":
        return tuple(_of_attributes(job))
    return (*_of_gpus(job, cluster), *_of_releases(job))


def _of_gpus(job: Job, cluster: Cluster) -> Iterator[str]:
    """Yield a note if a number of GPUs per node becomes ``--gpus``, which is a number for the whole job (sbatch(1))."""
    each, nodes = job.resources.gpus or 0, job.resources.nodes
    if cluster.gpu_form == "gpus" and each and nodes > 1:
        yield (
            f"gpus = {each} on {nodes} nodes becomes --gpus={each * nodes}, because {cluster.name} has "
            'gpu-form = "gpus"; Slurm may distribute these GPUs unevenly among the nodes'
        )


def _of_releases(job: Job) -> Iterator[str]:
    """Yield a note on each option that some releases of Slurm lack, because the release of the cluster is not known."""
    for table, given, program, options in (("slurm", job.slurm, "sbatch", SBATCH), ("srun", job.srun, "srun", SRUN)):
        for name, value in given:
            if value is not False and name in options and options[name].releases:
                yield f"{table}.{name}: {program} has --{name} in Slurm {options[name].releases}; other releases reject it"


def _of_attributes(job: Job) -> Iterator[str]:
    """Yield a note on each job attribute whose value was probably meant as a string but has no double quotes.

    In the ClassAd language, a word without quotes is the value of another attribute, or undefined if there is no such
    attribute. Words joined by signs are arithmetic: ``a-b`` is a subtraction. Sources: condor_submit(1),
    ``+<attribute> = <value>``; the HTCondor manual, "ClassAd Syntax". There is no note on numbers, the language's own words
    such as ``true``, and explicit references such as ``TARGET.Memory``.
    """
    for name, value in job.htcondor:
        word = str(value).strip()
        if not re.match(r"(?i)\+|my\.", name) or not re.fullmatch(r"[A-Za-z0-9_]+([./:@-][A-Za-z0-9_]+)*", word):
            continue
        if re.match(r"(?i)(my|target|parent)\.", word) or re.fullmatch(r"(?i)[0-9.]+(e-?[0-9]+)?[kmgt]?", word):
            continue
        if word.lower() not in {"true", "false", "undefined", "error"}:
            yield (
                f'htcondor."{name}": {word} without quotes refers to other attributes, and is undefined if these do not '
                f"""exist; for a string write '"{word}"'"""
            )
