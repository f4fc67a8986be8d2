#!/bin/bash
# psij-python 0.9.11 puts single quotes inside the double quotes of an #SBATCH line. Seen on 2026-11-29, Python 3.11.
#
# Guess before the run: JobSpec(name="abc") gives --job-name=abc, and a custom attribute slurm.constraint "a100&nvlink" gives
# --constraint="a100&nvlink".
# Seen: the value is quoted for a shell and then set between double quotes: --constraint="'a100&nvlink'". The inner quotes are a part of
# the value, in a shell and in sbatch. No node has a feature with quotes in its name, and a comment or an account with a blank is stored with
# them. --chdir of a folder with a blank names a folder that does not exist. A value of plain letters is right, so a first test passes.
# The name of the job is not written at all, not even "abc": in squeue and sacct each job has the name of its script file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check psij-python==0.9.11
HOME=$folder "$folder/venv/bin/python" - >"$folder/script" <<'END_OF_PYTHON'
import io
from pathlib import Path
from psij import Job, JobAttributes, JobExecutor, JobSpec

executor = JobExecutor.get_instance("slurm")
attributes = JobAttributes(
    queue_name="gpu",
    account="lab x",
    custom_attributes={"slurm.constraint": "a100&nvlink", "slurm.comment": "two words", "slurm.gres": "gpu:1"},
)
job = Job(JobSpec(name="abc", executable="/bin/true", directory=Path("/data/run 1"), attributes=attributes))
script = io.StringIO()
executor.generate_submit_script(job, executor._create_script_context(job), script)
print(script.getvalue())
END_OF_PYTHON
expect() { grep -qxF -- "$1" "$folder/script" || { echo "no longer written: $1"; grep SBATCH "$folder/script"; exit 1; }; }
expect '#SBATCH --partition="gpu"'
expect '#SBATCH --gres="gpu:1"'
expect "#SBATCH --account=\"'lab x'\""
expect "#SBATCH --constraint=\"'a100&nvlink'\""
expect "#SBATCH --comment=\"'two words'\""
expect "#SBATCH --chdir=\"'/data/run 1'\""
if grep -qE 'job-name|abc' "$folder/script"; then
  echo "the name of the job is written now"
  exit 1
fi
echo "as seen with psij-python 0.9.11"
