#!/bin/bash
# Submits run [= run_id =] to [= scheduler =]. Written by hpcdeploy [= version =].
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
[% for line in setup %]
[= line =]
[% endfor %]

run_id=[= run_id | word =]
root=[= root =]
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

[% include "login_templates/image.sh" %]

[% include scheduler ~ "_templates/submit.sh" %]

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

[% if parcels %]
# What has to be brought here first. Whoever brings it does it whole or not at all (receive.sh), so that being there is enough.
needs=""
need() {
  local sha256=$1 size=$2 path=$3 what=$4 have
  [ ! -e "$path" ] || return 0
  have=$(stat -c %s -- "${path%/*}/.$sha256.parcel" 2>/dev/null || echo 0)
  needs+="${needs:+, }{\"sha256\": \"$sha256\", \"path\": $(json "$path"), \"have\": $have}"
  say "$what is to be brought here: put it at $path ($size bytes, sha256 $sha256), and run this again"
}
ensure_parcels() {
[% for parcel, path in parcels %]
  need [= parcel.sha256 =] [= parcel.size =] [= path =] [= parcel.what | word =]
[% endfor %]
  [ -z "$needs" ] || {
    printf 'HPCDEPLOY {"run": "%s", "needs": [ %s ]}\n' "$run_id" "$needs" || true
    set +e
    exit 14
  }
}

[% endif %]
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
[% if parcels %]
ensure_parcels
[% endif %]
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
      die 12 "[= scheduler =] refused the job; its own words are above"
    fi
    die 13 "[= scheduler =] did not answer, and does not show the job yet"
  fi
fi
note_id "$job_id"
say "submitted as job $job_id"
answer "$job_id" false
}
# Read to its end before the first command runs: a script that was cut on its way does nothing.
main </dev/null
