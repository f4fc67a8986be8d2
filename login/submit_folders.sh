# --- login/submit_folders.sh: make the folders of the run, of images and of temporary files.
arguments=" $* "
run=$root/runs/$run_id
command -v flock >/dev/null || die 10 "flock is not on this machine; it comes with util-linux"
mkdir -p -- "$cache" "$tmp" "$run/logs" "$run/tasks" "$run/output" ||
  die 10 "cannot make $run, $cache and $tmp; set root in the cluster's settings to a folder that you may write to, and that has space"
keep_private "$root/runs" "$run"
