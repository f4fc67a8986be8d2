# Which job is the run's is said by a link, $run/id -> NUMBER: it is made whole or not at all, by one only, on network file
# systems too, and on a full disk (symlink(2)). Makes it point to the first of the jobs "$@" unless it is there already, and
# takes back every other one: two calls may both have submitted where a file system's locks hold on one machine only.
settle() {
  local job
  ln -sT -- "$1" "$run/id$part" 2>/dev/null || true
  job_id=$(readlink -- "$run/id$part") || { job_id=$1 && say "the job's number could not be noted in $run; make room there"; }
  sync -- "$run" 2>/dev/null || true
  for job in "$@"; do
    [ "$job" = "$job_id" ] || { say "the run has job $job_id; taking job $job back" && withdraw "$job" >&2; } || true
  done
}

# Reads a time (seconds since 1970) that a file holds, 0 where there is none: a crash may have left the file empty.
time_in() {
  local text=""
  [ ! -s "$1" ] || read -r text <"$1" || true
  case $text in '' | *[!0-9]*) echo 0 ;; *) echo "$text" ;; esac
}

# Sets jobs to those that bear the run's name. Daemons do not talk to each other when their clocks are five minutes apart
# (munge(7), TTL), so that one from well before the first attempt bears it by chance: somebody chose an old run's id again.
ask_scheduler() {
  local found since
  since=$(($(time_in "$run/submitting$part") - 600))
  found=$(look_up "$since") || return
  read -r -d '' -a jobs <<<"$found" || true
}

# Asks until the scheduler had time to show a job that it took just before the connection was cut. A request that was not
# answered may be on its way for longer.
ask_patiently() {
  local pause pauses=(0 2 3)
  [ $(($(date +%s) - $(time_in "$run/unanswered$part"))) -ge 60 ] || pauses+=(5 10 10 15 15)
  for pause in "${pauses[@]}"; do
    sleep "$pause"
    ask_scheduler || return
    [ "${#jobs[@]}" = 0 ] || return 0
  done
}
