# HTCondor: one condor_q for all of them, and of each run's event log what tells where its tasks are.
run_ids=([= run_ids | words =])
# CLUSTER|RUN|TASKS|those whose end is known|0
asked='[= asked | join("\n") =]'

section condor_q condor_q -nobatch -json -attributes [= attributes =] \
  -constraint 'member(ClusterId, {[= job_ids | join(", ") =]}) || member(DAGManJobId, {[= job_ids | join(", ") =]})'

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
section events events
