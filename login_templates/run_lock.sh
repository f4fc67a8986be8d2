# Files appear whole or not at all, even where two calls write them at once.
write() { cat >"$1.$HOSTNAME.$$.part" && mv -f -- "$1.$HOSTNAME.$$.part" "$1"; }

# One call at a time. Children hold the lock too: a submission that outlives its script keeps the next call waiting.
{ : >>"$run/lock"; } || die 10 "cannot write to $run; make room there (a full disk, or your quota)"
exec {run_lock}>"$run/lock"
flock --nonblock "$run_lock" || {
  say "another call is submitting this run; waiting for it"
[% if patience %]
  flock --timeout [= patience =] --conflict-exit-code 200 "$run_lock" || { [ $? != 200 ] || busy; false; } ||
[% else %]
  flock "$run_lock" ||
[% endif %]
    die 10 "files in $run cannot be locked; set root in the cluster's settings to another file system"
}
