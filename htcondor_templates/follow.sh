# HTCondor: one condor_q for all of them, and of each run's event log what tells where its tasks are.
[% include "login_templates/limited.sh" %]
run_ids=([= run_ids | words =])
# CLUSTER|RUN|TASKS|those whose end is known|0
asked='[= asked | join("\n") =]'

queue_answer=$(limited [= most =] condor_q -nobatch -json -attributes [= attributes =] \
  -constraint 'member(ClusterId, {[= job_ids | join(", ") =]}) || member(DAGManJobId, {[= job_ids | join(", ") =]})')
queue_code=$?
check_limit condor_q "$queue_code"
queue() { printf '%s' "$queue_answer" && return "$queue_code"; }
section condor_q queue

# Of each task what it went through since it last began, and nothing of one that is known to have ended. The lines of an event
# that count: where it runs, how it ended, why it was held or removed. A run that waits for others has the number of its DAGMan: its
# tasks are told under that number, though they are another job's, and DAGMan's own events as those of task -1.
events() {
  local run log logs=()
  for run in "${run_ids[@]}"; do
    for log in "$runs/$run/job.dag.dagman.log" "$runs/$run/events.log"; do [ ! -r "$log" ] || logs+=("$log"); done
  done
  [ "${#logs[@]}" -gt 0 ] || return 0
  printf '%s\n' "$asked" | awk '
    FILENAME == "-" {
      split($0, field, "|")
      number_of[field[2]] = field[1]
      count = field[4] == "-" ? 0 : split(field[4], part, ",")
      for (i = 1; i <= count; i++) {
        if (split(part[i], ends, "-") < 2) ends[2] = ends[1]
        for (task = ends[1] + 0; task <= ends[2] + 0; task++) over[field[1] + 0, task]
      }
      next
    }
    FNR == 1 {
      place = split(FILENAME, part, "/")
      job = number_of[part[place - 1]]
      dagman = part[place] ~ /dagman/
      if (dagman) waited[job]
    }
    /^[0-9][0-9][0-9] \(/ {
      split($2, number, /[(.)]/)
      if (dagman && number[2] + 0 != job) { wanted = 0; next }
      if (job in waited) {
        sub(/\([^)]*\)/, "(" job "." (dagman ? -1 : number[3]) ".000)")
        split($2, number, /[(.)]/)
      }
      key = (number[2] + 0) SUBSEP (number[3] + 0)
      code = $1
      wanted = !(key in over) && code ~ /^(000|001|004|005|009|010|011|012|013|022|023|024|035|036)$/
      if (wanted && !(key in text)) order[++tasks] = key
      if (wanted) text[key] = (code == "001" ? "" : text[key]) $0 "\n"
      next
    }
    !wanted { next }
    /^[ \t]SlotName: / || code == "009" && /^[ \t]/ || code == "012" && /^[ \t]Code [0-9]/ ||
    code == "005" && /^[ \t]\([01]\) (Normal|Abnormal) termination/ { text[key] = text[key] $0 "\n" }
    END { for (i = 1; i <= tasks; i++) printf "%s", text[order[i]] }' - "${logs[@]}"
}
told=$(limited [= most =] events)
check_limit "the event log" "$?"
section events printf '%s\n' "$told"

# Tasks that ended with 0 and have no note that their program began, of runs that leave one: RUN TASK never-began.
begins() {
  local run task
  printf '%s\n' "$asked" -- "$told" | awk '
    $0 == "--" { part++; next }
    !part { split($0, field, "|"); run[field[1] + 0] = field[2]; next }
    /^[0-9]/ { split($2, number, /[(.)]/) }
    /Normal termination .return value 0\)/ && number[3] + 0 >= 0 { print run[number[2] + 0], number[3] + 0 }' |
    while read -r run task; do
      [ ! -e "$runs/$run/notes-begin" ] || [ -e "$runs/$run/tasks/$task.begun" ] || echo "$run $task never-began"
    done
}
section records begins

# Runs with tasks that neither shows, since a log was deleted, or lies on a disk that was full: the schedd may remember how they
# ended. Tasks that HTCondor has still to make (035) are none of them, nor is what DAGMan (universe 7) has still to submit.
lost=$(printf '%s\n' "$asked" -- "$told" -- "$queue_answer" | awk '
  $0 == "--" { part++; next }
  !part {
    split($0, field, "|")
    job = field[1] + 0
    run[job] = field[2]
    open[job] = field[3]
    count = field[4] == "-" ? 0 : split(field[4], known, ",")
    for (i = 1; i <= count; i++) open[job] -= split(known[i], ends, "-") < 2 ? 1 : ends[2] - ends[1] + 1
  }
  part == 1 && /^[0-9]/ {
    split($2, number, /[(.)]/)
    job = number[2] + 0
    if ($1 == "035") later[job]
    else if ($1 == "036") open[job] = 0
  }
  part == 1 && (/^009 / || /^[ \t].* termination \((return value|signal) -?[0-9]+\)/) && number[3] + 0 >= 0 { open[job]-- }
  part == 2 && /^ *"(ClusterId|DAGManJobId)":/ { job = $2 + 0 }
  part == 2 && /^ *"HpcdeployRun":/ && index($2, "\"" run[job] "\"") == 1 { live[job]++ }
  part == 2 && /^ *"JobUniverse": *7/ { later[job] }
  END { for (job in run) if (open[job] > (job in later && live[job] ? open[job] : live[job])) printf "%s\"%s\"", comma++ ? ", " : "", run[job] }')
if [ "$queue_code" = 0 ] && [ -n "$lost" ]; then
  section condor_history condor_history -json -attributes [= history_attributes =] \
    -since 'EnteredCurrentStatus < [= since - 86400 =]' -constraint "member(HpcdeployRun, {$lost})"
fi
