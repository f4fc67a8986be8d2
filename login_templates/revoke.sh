#!/bin/bash
# Finds the job of run [= run_id =], which nobody is sure of, or sees to it that it gets none. Written by hpcdeploy [= version =].
#
# Run it on a login node:  bash revoke.sh
# It needs bash, coreutils, flock (util-linux) and the scheduler's own commands, and changes nothing but the run's own folder.
#
# Exit status: 0 the job's number is told, or that there is none and will be none; 10 this machine is not as it should be;
#              13 nobody can say yet whether there is a job: run this again.
[% set setup_must_succeed = true %]
[% set setup_exit = "exit 10" %]
[% include "login_templates/begin.sh" %]
main() {
[% include "login_templates/variables.sh" %]
[% include "login_templates/setup.sh" %]
set -euo pipefail
umask 077
trap '' HUP PIPE

say() { printf '%s\n' "$*" >&2 || true; }
die() { local code=$1; shift; say "error: $*"; set +e; exit "$code"; }

run_id=[= run_id | word =]
root=[= root =]
run=$root/runs/$run_id
[% include "login_templates/folders.sh" %]
command -v flock >/dev/null || die 10 "flock is not on this machine; it comes with util-linux"
mkdir -p -- "$run" || die 10 "cannot make $run; set root in the cluster's settings to a folder that you may write to, and that has room"
keep_private "$root/runs" "$run"

# The mark comes first: a submission that is alive, here or on a machine whose locks are not seen here, finds it before it submits,
# or behind that, and then takes its job back (submit.sh).
marked=false
[ -e "$run/cancelled" ] || { : >"$run/cancelled" && marked=true; } ||
  die 10 "cannot write to $run; make room there (a full disk, or your quota). Nothing was cancelled"
sync -- "$run/cancelled" "$run" 2>/dev/null || true
busy() {
  die 13 "a call that submits run $run_id is still at work after [= patience =] s, pulling the image it may be: it will see that the run was \
cancelled, and submit nothing, or take its job back"
}
unanswered() {
  ! "$marked" || rm -f -- "$run/cancelled"
  die 13 "the scheduler could not be asked whether it has run $run_id; nothing was cancelled"
}

[% include "login_templates/run_lock.sh" %]

[% include scheduler ~ "_templates/asking.sh" %]

[% include "login_templates/answer.sh" %]

[% include "login_templates/asking.sh" %]

# Adds the job of this part to job_ids, by its link or by its name; fails where it has none.
find_job() {
  jobs=()
  if ! job_id=$(readlink -- "$run/id$part"); then
    # Without the mark of a submission the folder may have been lost, and the job be there all the same.
    if [ -e "$run/submitting$part" ]; then ask_patiently; else ask_scheduler; fi || unanswered
    [ "${#jobs[@]}" != 0 ] || return
    settle "${jobs[@]}"
  fi
  job_ids+=${job_ids:+,}$job_id
}

job_ids=""
part=""
part_size=0
whole=false
[% if in_parts %]
if find_job; then
  # A large array's later parts are submitted in order.
  choose_parts
  whole=true
  for part in "${parts[@]:1}"; do find_job || { whole=false && break; }; done
fi
[% else %]
! find_job || whole=true
[% endif %]
# A run that has all its jobs gets no other: it is cancelled as any run is, and has the mark for that (cancel.sh).
if "$whole" && "$marked"; then rm -f -- "$run/cancelled"; fi
[% if scheduler == "htcondor" %]
if [ -z "$job_ids" ] && [ -e "$run/program.sh" ]; then
  # A job that comes after its time sees nothing of this folder; but the schedd reads its program here when it starts it.
  {
    printf '#!/bin/sh\necho "run %s was cancelled; nothing to do" >&2\nexit 1\n' "$run_id" | write "$run/program.sh"
    chmod 0755 "$run/program.sh"
  } || say "$run/program.sh cannot be written: a job that the schedd gets late would run"
fi
[% endif %]
if [ -n "$job_ids" ]; then say "run $run_id has job $job_ids"; else say "run $run_id has no job, and will have none"; fi
answer "$job_ids" false
}
# Read to its end before the first command runs: a script that was cut on its way does nothing.
main </dev/null
