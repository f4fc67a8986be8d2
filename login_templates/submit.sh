#!/bin/bash
# Submits run [= run_id =] to [= scheduler =]. Written by hpcdeploy [= version =].
#
# Run it on a login node:  bash submit.sh
# It needs bash, coreutils, flock (util-linux), Apptainer and the scheduler's own commands, and nothing of hpcdeploy.
# Run it as often as you like: the run is submitted once, and every later call says so. With the word "again" behind it, it
# asks the scheduler for the run's job first, even where the run's folder knows of no earlier call: for a folder that was lost.
# hpcdeploy says "bring": it brings what is missing, and no person need be told.
#
# Exit status: 0 submitted, now or earlier; 10 this machine is not as it should be; 11 the image could not be had;
#              12 the scheduler refused; 13 nobody can say yet whether the scheduler took the job: run this again;
#              14 a file is to be brought here first: which, and where to, is said; 15 the run was cancelled.
[% set setup_must_succeed = true %]
[% set setup_exit = "exit 10" %]
[% include "login_templates/begin.sh" %]
main() {
[% include "login_templates/variables.sh" %]
[% include "login_templates/setup.sh" %]
set -euo pipefail
umask 077
asked_to=" $* "
# A cut connection must not end this between the scheduler's yes and our note of it.
trap '' HUP PIPE

say() { printf '%s\n' "$*" >&2 || true; }
# A login shell runs ~/.bash_logout in its exit: under -e a command that fails there, as Debian's does without a terminal, would
# end it with that command's status instead of ours.
die() { local code=$1; shift; say "error: $*"; trap - EXIT; set +e; exit "$code"; }

run_id=[= run_id | word =]
root=[= root =]
run=$root/runs/$run_id
[% include "login_templates/folders.sh" %]
command -v flock >/dev/null || die 10 "flock is not on this machine; it comes with util-linux"
mkdir -p -- "$cache" "$tmp" "$run/logs" "$run/tasks" "$run/output" ||
  die 10 "cannot make $run, $cache and $tmp; set root in the cluster's settings to a folder that you may write to, and that has room"
keep_private "$root/runs" "$run"

[% include "login_templates/run_lock.sh" %]

[% include "login_templates/trust.sh" %]

[% include "login_templates/image.sh" %]
[% if unpacked %]

[% include "login_templates/unpack.sh" %]
[% endif %]

[% include scheduler ~ "_templates/submit.sh" %]

[% include "login_templates/answer.sh" %]

[% if parcels %]
# What has to be brought here first. hpcdeploy brings it whole or not at all (receive.sh); what a person copies here grows.
needs=""
need() {
  local sha256=$1 size=$2 path=$3 what=$4 becomes=${5-} have
  # In this order: another run that unpacks it makes the tree first, and then takes the archive away.
  if [ "$(stat -Lc %s -- "$path" 2>/dev/null)" = "$size" ]; then return 0; fi
  if [ -n "$becomes" ] && is_whole "$becomes"; then return 0; fi
  have=$(stat -c %s -- "${path%/*}/.$sha256.parcel" 2>/dev/null || echo 0)
  needs+="${needs:+, }{\"sha256\": \"$sha256\", \"path\": $(json "$path"), \"have\": $have}"
  [[ $asked_to == *" bring "* ]] ||
    say "$what is to be brought here: put it at $path ($size bytes, sha256 $sha256), and run this again"
}
ensure_parcels() {
[% for parcel, path, becomes in parcels %]
  need [= parcel.sha256 =] [= parcel.size =] [= path =] [= parcel.what | word =][= ' ' ~ becomes if becomes =]
[% endfor %]
  [ -z "$needs" ] || {
    printf '\nHPCDEPLOY {"run": "%s", "needs": [ %s ]}\n' "$run_id" "$needs" || true
    set +e
    exit 14
  }
}

[% endif %]
[% if in_parts %]
# A site limits how many tasks an array may have, so that a run may need several: its parts. Each has a job, a link and marks of its
# own, with a dot and the number of its first task behind their names; the first part, mostly the only one, has nothing behind them.
choose_parts
[% else %]
parts=("")
part_size=0
[% endif %]
part=""
job_ids=""

# What goes wrong before anything is submitted is a plain no; afterwards it is not, since earlier parts are there.
stop() {
  local code=$1
  shift
  [ -z "$part" ] || { code=13 && set -- "$* (tasks 0 to $((${part#.} - 1)) are submitted)"; }
  die "$code" "$@"
}

[% include "login_templates/asking.sh" %]

# Whether the scheduler answers and knows nothing of the job that it took, which left no trace either. A controller that crashes
# forgets what it took in its last seconds, and gives the number to the next job (seen with Slurm 24.11).
forgotten() {
  [ ! -e "$run/cancelled" ] && [ -z "$(ls -A -- "$run/tasks")" ] && ask_scheduler && [ "${#jobs[@]}" = 0 ]
}

# Whoever cancels a run that nobody is sure of leaves a mark in its folder first, and then looks for its job: so a call that does not
# see the mark before it submits sees it behind that, and takes the job "$1" back.
stop_if_cancelled() {
  [ -e "$run/cancelled" ] || return 0
  [ -z "${1-}" ] || { say "taking job $1 back" && withdraw "$1" >&2; } || true
  die 15 "run $run_id was cancelled, and is not submitted any more; if it is still to run, submit it anew, as another run"
}

prepared=false
prepare() {
  ! "$prepared" || return 0
  prepared=true
[% set program = "sbatch" if scheduler == "slurm" else "condor_submit" %]
  command -v [= program =] >/dev/null || stop 10 "[= program =] is not on the PATH of this machine, $HOSTNAME; name the login node as \
the cluster's host, or add what brings [= program =] (module load ...) to the cluster's setup"
  ensure_image
[% if parcels %]
  ensure_parcels
[% endif %]
[% for tree in unpacked %]
  unpack [= tree =]
[% endfor %]
  # No "||" behind these: it would let them go on after a failure (bash(1), set -e).
  trap 'stop 10 "cannot write to $run; make room there (a full disk, or your quota); this was not submitted"' EXIT
  write_job
}

# Sets job_id to the job of this part, which is submitted unless it was before.
submit_part() {
  local code earlier=false
  if job_id=$(readlink -- "$run/id$part"); then
    [[ $asked_to != *" again "* ]] || ! forgotten || stop 12 "[= scheduler =] knows nothing of this run's job $job_id, which never began: \
it was cancelled before that, or a crash of [= scheduler =] lost it. If it is still to run, submit it anew, as another run"
    return
  fi
  stop_if_cancelled
  jobs=()
  if [ -e "$run/submitting$part" ]; then
    earlier=true
    say "an earlier call was cut off while submitting; asking the scheduler"
    ask_patiently || die 13 "the scheduler could not be asked whether it has run $run_id"
  elif [[ $asked_to == *" again "* ]]; then
    ask_scheduler || die 13 "the scheduler could not be asked whether it has run $run_id"
  fi
  if [ "${#jobs[@]}" != 0 ]; then
    settle "${jobs[@]}"
    return
  fi

  prepare
  stop_if_cancelled
  trap 'stop 10 "cannot write to $run; make room there (a full disk, or your quota); this was not submitted"' EXIT
  : >"$run/submit.err"
  [ -e "$run/submitting$part" ] || date +%s | write "$run/submitting$part"
  trap - EXIT
  sync -- "$run/submitting$part" "$run" 2>/dev/null || true

  # From here on nothing ends this by itself: each way out says what is known of the job.
  set +e
  job_id=$(submit_job 2>"$run/submit.err")
  code=$?
  cat -- "$run/submit.err" >&2
  if [ "$code" = 0 ]; then
    # What an earlier call sent may have come in after all.
    ! "$earlier" || ask_scheduler
    [ "${#jobs[@]}" != 0 ] || jobs=("$job_id")
  # The scheduler may have taken the job and its answer got lost: it is asked before a failure is believed.
  elif refused "$run/submit.err"; then
    ask_scheduler || die 13 "submitting failed, and the scheduler could not be asked whether it took the job"
    if [ "${#jobs[@]}" = 0 ]; then
      rm -f -- "$run/submitting$part" "$run/unanswered$part"
      stop 12 "[= scheduler =] refused the job; its own words are above"
    fi
  elif ! ask_patiently || [ "${#jobs[@]}" = 0 ]; then
    never_left "$run/submit.err" || date +%s >"$run/unanswered$part"
    die 13 "[= scheduler =] did not say whether it took the job, and does not show it now; its own words are above"
  fi
  settle "${jobs[@]}"
  set -e
  stop_if_cancelled "$job_id"
  already=false
}

already=true
for part in "${parts[@]}"; do
  submit_part
  job_ids+=${job_ids:+,}$job_id
done
if "$already"; then say "run $run_id was submitted before"; else say "submitted as job $job_ids"; fi
answer "$job_ids" "$already"
}
# Read to its end before the first command runs: a script that was cut on its way does nothing.
main "$@" </dev/null
