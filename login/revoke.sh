# --- login/revoke.sh: find the run's jobs, or prevent that the run is submitted.
run=$root/runs/$run_id
command -v flock >/dev/null || die 10 "flock is not on this machine; it comes with util-linux"
mkdir -p -- "$run" || die 10 "cannot make $run; set root in the cluster's settings to a folder that you may write to, and that has space"
keep_private "$root/runs" "$run"

# Write the file "cancelled" before taking the lock. A submission in progress then sees the file, also on a machine where the lock has no effect.
# It looks for the file before it submits the job, and again afterwards, and then cancels its job (login/submit.sh).
marked=no
[ -e "$run/cancelled" ] || { : >"$run/cancelled" && marked=yes; } ||
  die 10 "cannot write to $run; make room there (a full disk, or your quota). Nothing was cancelled"
sync -- "$run/cancelled" "$run" 2>/dev/null || true
busy() {
  die 13 "the call that submits run $run_id is still at work after $lock_timeout s, possibly because it pulls the image. That call will see \
that the run was cancelled: it submits nothing, or cancels its job"
}
unanswered() {
  [ "$marked" = no ] || rm -f -- "$run/cancelled"
  die 13 "cannot query the scheduler whether it has run $run_id; nothing was cancelled"
}
