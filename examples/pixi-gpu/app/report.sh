#!/bin/sh
# Says where it runs, in which environment, on which GPUs, from which image, and with which words.
set -eu

variable() {
    eval "value=\${$1-}"
    printf '%-22s %s\n' "$1" "${value:-(not set)}"
}

# shellcheck source=/dev/null
system="$(. /etc/os-release && printf '%s' "$PRETTY_NAME")"
printf '%-22s %s\n' "operating system" "$system" "host" "$(uname -n)"
variable HPCDEPLOY_IMAGE_SHA256

printf '\n'
for name in PIXI_PROJECT_NAME PIXI_ENVIRONMENT_NAME CONDA_PREFIX DEMO_ACTIVATED DEMO_GREETING; do
    variable "$name"
done
hpcdeploy-demo

printf '\n'
for name in CUDA_VISIBLE_DEVICES SLURM_JOB_ID SLURM_JOB_GPUS _CONDOR_AssignedGPUs; do
    variable "$name"
done
if command -v nvidia-smi >/dev/null; then
    nvidia-smi -L || printf 'nvidia-smi is here, but found no GPU\n'
else
    printf 'nvidia-smi is not here\n'
fi

printf '\n%s argument(s)\n' "$#"
for argument in "$@"; do
    printf '  [%s]\n' "$argument"
done
