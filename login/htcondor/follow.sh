# --- login/htcondor/follow.sh: print the ads of the queried jobs from condor_q, and those lines of each run's event log that show the states
# of its tasks. $queried has a line for each job: CLUSTER|RUN|NUMBER OF TASKS|TASKS KNOWN TO HAVE ENDED|0
# hpcdeploy parses the log in Python (hpcdeploy/scheduler/htcondor/event_log.py). Here awk only selects lines, for two reasons. A raw log is too
# large to send every few seconds: it has 2 to 4 KB for each task (the usage table of 005, image sizes of 006, all earlier starts), 30 MB for
# 10,000 tasks. And tasks that neither the queue nor the log shows must be found here, to query the history in the same connection.
set -u
runs=$root/runs
printf -v numbers '%s, ' "${job_ids[@]}"
queue_answer=$(limited "$most" condor_q -nobatch -json -attributes "$attributes" \
  -constraint "member(ClusterId, {${numbers%, }}) || member(DAGManJobId, {${numbers%, }})")
queue_code=$?
check_limit condor_q "$queue_code"
queue() { printf '%s' "$queue_answer" && return "$queue_code"; }
section condor_q queue

# Print the events of each task since its last start, except of tasks that are known to have ended. For each event print the first line, and
# the lines that show where the task runs, how it ended, or why it was held or removed. The job id of a run that
# waits for other runs is the id of its DAGMan job. So in the events of the job that DAGMan submitted, the id is replaced by the id of the DAGMan
# job, and the events of the DAGMan job get the task -1.
events() {
  local run log logs=()
  for run in "${run_ids[@]}"; do
    for log in "$runs/$run/job.dag.dagman.log" "$runs/$run/events.log"; do [ ! -r "$log" ] || logs+=("$log"); done
  done
  [ "${#logs[@]}" -gt 0 ] || return 0
  printf '%s\n' "$queried" | awk '
    FILENAME == "-" {
      split($0, field, "|")
      number_of[field[2]] = field[1]
      count = field[4] == "-" ? 0 : split(field[4], part, ",")
      for (i = 1; i <= count; i++) {
        if (split(part[i], ends, "-") < 2) ends[2] = ends[1]
        for (task = ends[1] + 0; task <= ends[2] + 0; task++) finished[field[1] + 0, task]
      }
      next
    }
    FNR == 1 {
      depth = split(FILENAME, part, "/")
      job = number_of[part[depth - 1]]
      dagman = part[depth] ~ /dagman/
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
      wanted = !(key in finished) && code ~ /^(000|001|004|005|009|010|011|012|013|022|023|024|035|036)$/
      if (wanted && !(key in text)) order[++tasks] = key
      if (wanted) text[key] = (code == "001" ? "" : text[key]) $0 "\n"
      next
    }
    !wanted { next }
    /^[ \t]SlotName: / || code == "009" && /^[ \t]/ || code == "012" && /^[ \t]Code [0-9]/ ||
    code == "005" && /^[ \t]\([01]\) (Normal|Abnormal) termination/ { text[key] = text[key] $0 "\n" }
    END { for (i = 1; i <= tasks; i++) printf "%s", text[order[i]] }' - "${logs[@]}"
}
log_lines=$(limited "$most" events)
check_limit "the event log" "$?"
section events printf '%s\n' "$log_lines"

# Print "RUN TASK never-began" for each task that ended with 0 but has no record of its program's start, if the run keeps such records.
never_began() {
  local run task
  printf '%s\n' "$queried" -- "$log_lines" | awk '
    $0 == "--" { part++; next }
    !part { split($0, field, "|"); run[field[1] + 0] = field[2]; next }
    /^[0-9]/ { split($2, number, /[(.)]/) }
    /Normal termination .return value 0\)/ && number[3] + 0 >= 0 { print run[number[2] + 0], number[3] + 0 }' |
    while read -r run task; do
      [ ! -e "$runs/$run/notes-begin" ] || [ -e "$runs/$run/tasks/$task.begun" ] || echo "$run $task never-began"
    done
}
section records never_began

# Find runs with tasks that neither the log nor the queue shows, and query the history for them. Such tasks exist if the log was deleted, or if
# the disk was full. Tasks that HTCondor has not created yet (035), or that DAGMan (universe 7) has not submitted yet, are not among them.
lost=$(printf '%s\n' "$queried" -- "$log_lines" -- "$queue_answer" | awk '
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
  section condor_history condor_history -json -attributes "$history_attributes" \
    -since "EnteredCurrentStatus < $((since - 86400))" -constraint "member(HpcdeployRun, {$lost})"
fi
