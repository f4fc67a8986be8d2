# --- login/run_lock.sh: lock the run, so that only one script at a time works on it.

# Write standard input to the file $1 atomically, even if two calls write it at once.
write() { cat >"$1.$HOSTNAME.$$.part" && mv -f -- "$1.$HOSTNAME.$$.part" "$1"; }

# Child processes inherit the lock, so that the next call also waits for a sbatch that is still running after its script was killed.
{ : >>"$run/lock"; } || die 10 "cannot write to $run; make room there (a full disk, or your quota)"
exec {run_lock}>"$run/lock"
flock --nonblock "$run_lock" || {
  say "another call is submitting this run; waiting for it"
  # Exit status 200: the timeout was reached.
  flock ${lock_timeout:+--timeout "$lock_timeout" --conflict-exit-code 200} "$run_lock" || { [ $? != 200 ] || busy; false; } ||
    die 10 "files in $run cannot be locked; set root in the cluster's settings to another file system"
}
