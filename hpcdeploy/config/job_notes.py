"""Return notes on a job that is valid but may not do what the user expects; they are printed before its submission."""

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
    """Yield a note on GPUs per node if Slurm gets a number for the whole job (sbatch(1), ``--gpus``)."""
    each, nodes = job.resources.gpus or 0, job.resources.nodes
    if cluster.gpu_form == "gpus" and each and nodes > 1:
        yield (
            f'gpus = {each} on {nodes} nodes is --gpus={each * nodes}, because {cluster.name} has gpu-form = "gpus": Slurm '
            "may distribute them unevenly"
        )


def _of_releases(job: Job) -> Iterator[str]:
    """Yield a note on each option that some releases of Slurm lack; a cluster's release is not known here."""
    for table, given, program, options in (("slurm", job.slurm, "sbatch", SBATCH), ("srun", job.srun, "srun", SRUN)):
        for name, value in given:
            if value is not False and name in options and options[name].releases:
                yield f"{table}.{name}: {program} has --{name} in Slurm {options[name].releases}; others reject it"


def _of_attributes(job: Job) -> Iterator[str]:
    """Yield a note on each attribute whose value is a bare word, which refers to another attribute, or else is undefined.

    A string of the ClassAd language has double quotes (condor_submit(1), ``+<attribute> = <value>``; the HTCondor manual,
    "ClassAd Syntax"). Signs between words are arithmetic: ``a-b`` is a subtraction. An explicit reference such as
    ``TARGET.Memory`` is intended.
    """
    for name, value in job.htcondor:
        word = str(value).strip()
        if not re.match(r"(?i)\+|my\.", name) or not re.fullmatch(r"[A-Za-z0-9_]+([./:@-][A-Za-z0-9_]+)*", word):
            continue
        if re.match(r"(?i)(my|target|parent)\.", word) or re.fullmatch(r"(?i)[0-9.]+(e-?[0-9]+)?[kmgt]?", word):
            continue
        if word.lower() not in {"true", "false", "undefined", "error"}:
            yield (
                f'htcondor."{name}": {word} without quotes is an expression of other attributes, and undefined if there '
                f"""are none; for a string write '"{word}"'"""
            )
