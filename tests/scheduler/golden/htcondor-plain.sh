#!/bin/bash
# Submits run hello-0123456789 to htcondor. Written by hpcdeploy 0.1.0.
#
# Run it on a login node:  bash submit.sh
# It needs bash, coreutils, flock (util-linux), Apptainer and the scheduler's own commands, and nothing of hpcdeploy.
# Run it as often as you like: the run is submitted once, and every later call says so.
#
# Exit status: 0 submitted, now or earlier; 10 this machine is not as it should be; 11 the image could not be had;
#              12 the scheduler refused; 13 nobody can say yet whether the scheduler took the job: run this again;
#              14 a file is to be brought here first: which, and where to, is said.
main() {
set -euo pipefail
umask 077
# A cut connection must not end this between the scheduler's yes and our note of it.
trap '' HUP PIPE

say() { printf '%s\n' "$*" >&2 || true; }
# A login shell runs ~/.bash_logout in its exit: under -e a command that fails there, as Debian's does without a terminal, would
# end it with that command's status instead of ours.
die() { local code=$1; shift; say "error: $*"; set +e; exit "$code"; }

# A job, or a person's own settings, may have left variables that change what the scheduler's commands do.
for name in "${!SLURM_@}" "${!SBATCH_@}" "${!SQUEUE_@}" "${!SACCT_@}"; do
  case $name in SLURM_CONF | SLURM_CONF_SERVER) ;; *) unset "$name" ;; esac
done

run_id=hello-0123456789
root="${SCRATCH:?is not set on this machine, but the path needs it: set it, or name another path}"/hpcdeploy
run=$root/runs/$run_id
case $root in
  /*) ;;
  *) die 10 "the cluster's root is $root, which is no absolute path; set root in the cluster's settings" ;;
esac
case $run in *[$'\n']*) die 10 "the cluster's root holds a line break; set another root" ;; esac
command -v flock >/dev/null || die 10 "flock is not on this machine; it comes with util-linux"
mkdir -p -- "$root/images" "$root/tmp" "$run/logs" "$run/tasks" "$run/output" ||
  die 10 "cannot make $run; set root in the cluster's settings to a folder that you may write to"

# Files appear whole or not at all.
write() { cat >"$1.part" && mv -f -- "$1.part" "$1"; }

# One call at a time. Children hold the lock too: a submission that outlives this script keeps the next one waiting.
exec {run_lock}>"$run/lock"
flock --nonblock "$run_lock" || { say "another call is submitting this run; waiting for it"; flock "$run_lock"; }

# The image, once for everybody: in $root/images under its own sha256.
sha256=abababababababababababababababababababababababababababababababab
image=$root/images/$sha256.sif

pull_image() {
  local part=$root/images/.$sha256.part temporary pulse code=0
  command -v apptainer >/dev/null ||
    die 10 "apptainer is not on this machine's PATH; add what brings it (module load ...) to the cluster's setup"
  rm -f -- "$part"
  # Apptainer's own cache and temporary files stay out of $HOME, whose quota they would fill ($HOME/.apptainer/cache).
  temporary=$(mktemp -d -- "$root/tmp/pull-XXXXXXXX")
  mkdir -- "$temporary/cache"
  say "pulling the image oras://localhost:5000/train@sha256:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"
  {
    while sleep 5; do
      say "  $(($(stat -c %s -- "$part" 2>/dev/null || echo 0) / 1000000)) of 0 MB"
    done
  } {run_lock}>&- {image_lock}>&- &
  pulse=$!
  APPTAINER_CACHEDIR=$temporary/cache APPTAINER_TMPDIR=$temporary TMPDIR=$temporary \
    apptainer pull --disable-cache --no-https \
    "$part" oras://localhost:5000/train@sha256:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd >&2 || code=$?
  kill "$pulse" 2>/dev/null || true
  wait "$pulse" 2>/dev/null || true
  rm -rf -- "$temporary"
  if [ "$code" != 0 ]; then
    rm -f -- "$part"
    die 11 "the image could not be pulled (exit status $code); Apptainer's own words are above." \
      "If the registry wants a password, run on this machine: apptainer registry login"
  fi
  if [ "$(sha256sum <"$part")" != "$sha256  -" ]; then
    rm -f -- "$part"
    die 11 "the image that came is not the one that was asked for: its sha256 is not $sha256"
  fi
  chmod 0600 -- "$part"
  mv -f -- "$part" "$image"
}

ensure_image() {
  local image_lock
  [ ! -e "$image" ] || return 0
  exec {image_lock}>"$root/images/.$sha256.lock"
  flock --nonblock "$image_lock" || { say "another run is pulling the image; waiting for it"; flock "$image_lock"; }
  [ -e "$image" ] || pull_image
  exec {image_lock}>&-
}

# How HTCondor is spoken to: write_job, submit_job, look_up, refused.
write_job() {
  local work="$run/output"
  case $run$work in
    *\$\(* | *\"*) die 10 "the path $run or $work holds \$( or a double quote, which a submit description cannot say" ;;
  esac
  write "$run/program.sh" <<'HPCDEPLOY_END_0123456789'
#!/bin/sh
# Run hello-0123456789, written by hpcdeploy 0.1.0. This runs inside the container, once for each task; its arguments are the
# task's number and the job's id. The command and its environment stand here, and pass through nobody else's quoting.
export HPCDEPLOY_RUN=hello-0123456789
export HPCDEPLOY_TASK="$1"
export HPCDEPLOY_JOB_ID="$2"
export HPCDEPLOY_IMAGE_SHA256=abababababababababababababababababababababababababababababababab
# No command means the image's own run script.
set -- /.singularity.d/runscript
exec "$@"
HPCDEPLOY_END_0123456789
  chmod 0755 "$run/program.sh"
  {
    printf '%s = %s\n' run_folder "$run" image_file "$image" work_folder "$work"
    cat <<'HPCDEPLOY_END_0123456789'
# Run hello-0123456789, written by hpcdeploy 0.1.0. The three lines above say where the run, its image and its work are.
universe                = container
container_image         = $(image_file)
# No absolute path: that would be taken for a program of the image's own (condor_submit(1), container universe).
executable              = program.sh
arguments               = $(Process) $(Cluster)
initialdir              = $(work_folder)
log                     = $(run_folder)/events.log
output                  = $(run_folder)/logs/$(Process).out
error                   = $(run_folder)/logs/$(Process).err
stream_output           = true
stream_error            = true
should_transfer_files   = YES
when_to_transfer_output = ON_EXIT
notification            = never
+HpcdeployRun = "hello-0123456789"
batch_name = hello-0123456789
request_cpus = 1
queue 1
HPCDEPLOY_END_0123456789
  } | write "$run/job.sub"
}

# Prints the cluster id: the answer of -terse is "12.0 - 12.9".
submit_job() {
  local output line
  output=$(cd "$run" && condor_submit -terse job.sub) || return
  while IFS= read -r line; do
    if [[ $line =~ ^([0-9]+)\.[0-9]+\ -\ [0-9]+\.[0-9]+$ ]]; then
      printf '%s' "${BASH_REMATCH[1]}"
      return
    fi
  done <<<"$output"
  printf 'condor_submit printed no job id, but: %s\n' "$output" >&2
  return 1
}

# Prints the id of the cluster that bears this run's name, or nothing. Fails where HTCondor cannot be asked.
look_up() {
  local found line
  if [ -s "$run/events.log" ]; then
    while IFS= read -r line; do
      if [[ $line =~ ^000\ \(0*([0-9]+)\. ]]; then
        printf '%s' "${BASH_REMATCH[1]}"
        return
      fi
    done <"$run/events.log"
  fi
  found=$(condor_q -nobatch -constraint "HpcdeployRun == \"$run_id\"" -autoformat ClusterId) || return
  [ -n "$found" ] || found=$(condor_history -limit 1 -constraint "HpcdeployRun == \"$run_id\"" -autoformat ClusterId) || return
  read -r found _ <<<"$found" || true
  printf '%s' "$found"
}

# Whether condor_submit said a plain no, before or instead of reaching the schedd.
refused() {
  local words
  words=$(<"$1")
  case $words in
    *"onnect"* | *"timed out"* | *"printed no job id"* | *"ommit"*) return 1 ;;
    *"ERROR"* | *"not found"*) return 0 ;;
    *) return 1 ;;
  esac
}

json() {
  local text=$1
  text=${text//\\/\\\\}
  text=${text//\"/\\\"}
  text=${text//$'\t'/\\t}
  printf '"%s"' "$text"
}

# The one line that hpcdeploy reads; login shells may print what they like around it.
answer() {
  printf 'HPCDEPLOY {"run": "%s", "job_id": "%s", "already": %s, "folder": %s}\n' "$run_id" "$1" "$2" "$(json "$run")" || true
}

note_id() {
  printf '%s\n' "$1" | write "$run/id"
  sync -- "$run/id" "$run" 2>/dev/null || true
}

# Asks until the scheduler had time to show a job that it took just before the connection was cut.
look_up_patiently() {
  local pause
  for pause in 0 2 3; do
    sleep "$pause"
    job_id=$(look_up) || return 1
    [ -z "$job_id" ] || return 0
  done
}

if [ -s "$run/id" ]; then
  say "run $run_id was submitted before"
  answer "$(<"$run/id")" true
  return
fi

if [ -e "$run/submitting" ]; then
  say "an earlier call was cut off while submitting; asking the scheduler"
  look_up_patiently || die 13 "the scheduler could not be asked whether it has run $run_id"
  if [ -n "$job_id" ]; then
    note_id "$job_id"
    answer "$job_id" true
    return
  fi
fi

ensure_image
write_job
: >"$run/submitting"
sync -- "$run/submitting" "$run" 2>/dev/null || true

if job_id=$(submit_job 2>"$run/submit.err"); then
  cat -- "$run/submit.err" >&2 || true
else
  cat -- "$run/submit.err" >&2 || true
  # The scheduler may have taken the job and its answer got lost: ask before believing the failure.
  look_up_patiently || die 13 "submitting failed, and the scheduler could not be asked whether it took the job"
  if [ -z "$job_id" ]; then
    if refused "$run/submit.err"; then
      rm -f -- "$run/submitting"
      die 12 "htcondor refused the job; its own words are above"
    fi
    die 13 "htcondor did not answer, and does not show the job yet"
  fi
fi
note_id "$job_id"
say "submitted as job $job_id"
answer "$job_id" false
}
# Read to its end before the first command runs: a script that was cut on its way does nothing.
main </dev/null
