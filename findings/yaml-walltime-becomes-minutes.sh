#!/bin/bash
# walltime: 1:30:00 in a YAML file asks Slurm for 90 hours, through dask-jobqueue 0.9.0 and through maestrowf 1.2.1. Seen on 2026-11-29
# with dask and distributed 2026.8.0, Python 3.11.
#
# Guess before the run: --time=1:30:00, or an error because the value is not a string.
# Seen: PyYAML follows YAML 1.1 and reads the bare 1:30:00 as a number to base 60, 5400. Both tools accept the number and write it as it is.
# Slurm reads a number without a colon as minutes: 5400 minutes are 90 hours. Such a job waits for a free slot of 90 hours, or the partition
# rejects it. 00:30:00 is no such number (a leading zero) and stays text, so a first test with a short walltime works.
# So a walltime in YAML needs quotes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  dask-jobqueue==0.9.0 dask==2026.8.0 distributed==2026.8.0 maestrowf==1.2.1

# Usage: time_of WALLTIME. Print the values of --time that dask-jobqueue and Maestro write.
time_of() {
  rm -rf "$folder/config" "$folder/study"
  mkdir "$folder/config"
  cat >"$folder/config/jobqueue.yaml" <<END_OF_YAML
jobqueue:
  slurm:
    cores: 1
    memory: 1GB
    walltime: $1
END_OF_YAML
  cat >"$folder/study.yaml" <<END_OF_YAML
description:
    name: demo
    description: one step
batch:
    type: slurm
    host: cluster
    bank: project
    queue: gpu
study:
    - name: train
      description: train
      run:
          cmd: ./train
          nodes: 1
          procs: 1
          walltime: $1
END_OF_YAML
  DASK_CONFIG=$folder/config "$folder/venv/bin/python" -c '
from dask_jobqueue import SLURMCluster

print(SLURMCluster.job_cls(scheduler="tcp://127.0.0.1:1", name="w").job_script())' | sed -n 's/^#SBATCH -t //p'
  "$folder/venv/bin/maestro" run --dry -fg -y -s 1 -o "$folder/study" "$folder/study.yaml" >"$folder/log" 2>&1 </dev/null
  sed -n 's/^#SBATCH --time=//p' "$folder/study/train/train.slurm.sh"
}

expect() { [ "$2" = "$3" ] || { printf 'walltime: %s now gives:\n%s\n' "$1" "$2"; exit 1; }; }
expect '1:30:00' "$(time_of '1:30:00')" $'5400\n5400'
expect '"1:30:00"' "$(time_of '"1:30:00"')" $'1:30:00\n1:30:00'
expect '00:30:00' "$(time_of '00:30:00')" $'00:30:00\n00:30:00'
echo "as seen with dask-jobqueue 0.9.0 and maestrowf 1.2.1"
