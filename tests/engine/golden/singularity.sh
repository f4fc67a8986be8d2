mkdir -m 0700 /tmp/hpcdeploy-0123 || exit
trap 'rm -rf /tmp/hpcdeploy-0123' EXIT
cat >/tmp/hpcdeploy-0123/program.sh <<'END'
#!/bin/sh
# Written by hpcdeploy VERSION for a command on this machine. This runs inside the container. The command
# and its variables are quoted here once, and nothing else interprets them.
export HPCDEPLOY_TASK=0
export NAME='two "words" `id`'
# Without a command, run the image's own run script.
set -- python train.py 'it'"'"'s $HOME' ''
exec "$@"
END
unset PYTHONPATH PYTHONHOME PYTHONUSERBASE LD_PRELOAD VIRTUAL_ENV CONDA_PREFIX CONDA_DEFAULT_ENV CONDA_SHLVL
/usr/bin/singularity --quiet exec --no-eval --nv --mount 'type=bind,"source=/home/me/work, here","destination=/home/me/work, here"' --mount 'type=bind,"source=/data/""x"":y","destination=/data",ro' --mount 'type=bind,"source=/tmp/hpcdeploy-0123","destination=/tmp/hpcdeploy-0123"' --pwd '/home/me/work, here' /images/train.sif /bin/sh /tmp/hpcdeploy-0123/program.sh

mkdir -m 0700 /tmp/hpcdeploy-0123 || exit
trap 'rm -rf /tmp/hpcdeploy-0123' EXIT
cat >/tmp/hpcdeploy-0123/program.sh <<'END'
#!/bin/sh
# Written by hpcdeploy VERSION for a command on this machine. This runs inside the container. The command
# and its variables are quoted here once, and nothing else interprets them.
export HPCDEPLOY_TASK=0
export NAME='two "words" `id`'
# Without a command, run the image's own run script.
set -- python train.py 'it'"'"'s $HOME' ''
exec "$@"
END
unset PYTHONPATH PYTHONHOME PYTHONUSERBASE LD_PRELOAD VIRTUAL_ENV CONDA_PREFIX CONDA_DEFAULT_ENV CONDA_SHLVL
/usr/bin/singularity --quiet exec --no-eval --rocm --mount 'type=bind,"source=/home/me/work, here","destination=/home/me/work, here"' --mount 'type=bind,"source=/data/""x"":y","destination=/data",ro' --mount 'type=bind,"source=/tmp/hpcdeploy-0123","destination=/tmp/hpcdeploy-0123"' --pwd '/home/me/work, here' /images/train.sif /bin/sh /tmp/hpcdeploy-0123/program.sh

mkdir -m 0700 /tmp/hpcdeploy-0123 || exit
trap 'rm -rf /tmp/hpcdeploy-0123' EXIT
cat >/tmp/hpcdeploy-0123/program.sh <<'END'
#!/bin/sh
# Written by hpcdeploy VERSION for a command on this machine. This runs inside the container. The command
# and its variables are quoted here once, and nothing else interprets them.
export HPCDEPLOY_TASK=0
export NAME='two "words" `id`'
# Without a command, run the image's own run script.
set -- python train.py 'it'"'"'s $HOME' ''
exec "$@"
END
unset PYTHONPATH PYTHONHOME PYTHONUSERBASE LD_PRELOAD VIRTUAL_ENV CONDA_PREFIX CONDA_DEFAULT_ENV CONDA_SHLVL
/usr/bin/singularity --quiet exec --no-eval --mount 'type=bind,"source=/home/me/work, here","destination=/home/me/work, here"' --mount 'type=bind,"source=/data/""x"":y","destination=/data",ro' --mount 'type=bind,"source=/tmp/hpcdeploy-0123","destination=/tmp/hpcdeploy-0123"' --pwd '/home/me/work, here' /images/train.sif /bin/sh /tmp/hpcdeploy-0123/program.sh

unset PYTHONPATH PYTHONHOME PYTHONUSERBASE LD_PRELOAD VIRTUAL_ENV CONDA_PREFIX CONDA_DEFAULT_ENV CONDA_SHLVL
SINGULARITYENV_HPCDEPLOY_TASK=0 SINGULARITYENV_NAME='two "words" `id`' /usr/bin/singularity instance start --no-eval --mount 'type=bind,"source=/home/me/work, here","destination=/home/me/work, here"' --mount 'type=bind,"source=/data/""x"":y","destination=/data",ro' --mount 'type=bind,"source=/home/me/.local/state/hpcdeploy/instances/web","destination=/home/me/.local/state/hpcdeploy/instances/web"' /images/train.sif web python train.py 'it'"'"'s $HOME' ''
