#!/bin/bash
# From a Pixi workspace to two finished GPU jobs, one on Slurm and one on HTCondor. `make demo` calls this.
#
# Every line that begins with $ is what you would type yourself; with a cluster of your own it is the same but for its name,
# and without --repository: the lab's registry takes the place of the one in hpcdeploy.toml.
set -euo pipefail

run() {
  printf '\n$ %s\n' "$*" >&2
  "$@"
}

run hpcdeploy lab up

workspace=$(mktemp -d)
trap 'rm -rf "$workspace"' EXIT
cp -r "$(dirname "$0")/pixi-gpu" "$workspace/"
cd "$workspace/pixi-gpu"
registry=$(hpcdeploy lab status --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["registry"])')

run hpcdeploy build --on lab
run hpcdeploy push --repository "$registry/demo/pixi-gpu"

slurm=$(run hpcdeploy submit report --cluster lab --scheduler slurm)
htcondor=$(run hpcdeploy submit report --cluster lab --scheduler htcondor)

run hpcdeploy wait "$slurm" "$htcondor" --interval 2
run hpcdeploy logs "$slurm"
run hpcdeploy logs "$htcondor"
run hpcdeploy runs --last 2

cat <<'TEXT'

That was a whole cluster, and it is still up:
  hpcdeploy lab shell     a shell on its login node: squeue, sinfo, condor_q, apptainer
  hpcdeploy lab status    what runs where
  hpcdeploy lab down      take it down
(The command is in .venv/bin. The README goes on from here.)
TEXT
