#!/bin/bash
# dask-jobqueue 0.9.0: a comment in job_script_prologue turns the worker off on HTCondor. Seen on 2026-11-29 with htcondor 24.12.24 as
# the reader of the submit file, dask and distributed 2026.8.0, Python 3.11.
#
# Guess before the run: quotes and "$A" in a prologue come through on both schedulers. They do; comments and blocks were not guessed.
# Seen: SLURMCluster writes one line for each entry. HTCondorCluster joins the entries and the worker with "; " to one argument of
# "/bin/sh -c":
#   - the entry "# site modules" makes the rest of that line a comment, with the worker in it. The shell exits with 0 and the job
#     completes, so the scheduler waits for workers that never come
#   - the entries "if true; then", "export A=1", "fi" become "then; export", a syntax error (exit code 2)
# So a prologue that is used on both schedulers needs one full command in each entry, and no comment.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export CONDOR_CONFIG=ONLY_ENV
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  dask-jobqueue==0.9.0 dask==2026.8.0 distributed==2026.8.0 htcondor==24.12.24
"$folder/venv/bin/python" -W ignore - <<'END_OF_PYTHON'
import subprocess
import sys
import classad
import htcondor
from dask_jobqueue import HTCondorCluster, SLURMCluster


def script(cluster, prologue, **settings):
    job = cluster.job_cls(
        scheduler="tcp://127.0.0.1:1",
        name="w",
        cores=1,
        memory="1GB",
        python="echo WORKER",  # stands for the interpreter: the job prints the worker's command line
        job_script_prologue=prologue,
        **settings,
    )
    return job.job_script()


def run(*command, **settings):
    done = subprocess.run(command, capture_output=True, text=True, **settings)
    return done.returncode, "WORKER" in done.stdout


def on_slurm(prologue):
    return run("/bin/sh", "-s", input=script(SLURMCluster, prologue))


def on_htcondor(prologue):
    (job,) = htcondor.Submit(script(HTCondorCluster, prologue, disk="1GB")).jobs()
    job["Split"] = classad.ExprTree("argsToList(Arguments)")
    return run(job["Cmd"], *job.eval("Split"))


for prologue, htcondor_result in (
    (["export A='x y'", 'echo "$A"'], (0, True)),
    (["# site modules", "export A=1"], (0, False)),
    (["if true; then", "export A=1", "fi"], (2, False)),
):
    seen = on_slurm(prologue), on_htcondor(prologue)
    if seen != ((0, True), htcondor_result):
        sys.exit(f"{prologue} now gives (exit code, worker started) on Slurm and HTCondor: {seen}")
END_OF_PYTHON
echo "as seen with dask-jobqueue 0.9.0"
