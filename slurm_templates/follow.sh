# Slurm: one squeue for all of them; sacct only for tasks of which neither squeue nor their own notes tell the end.
[% include "login_templates/limited.sh" %]
# Without the second, squeue cuts the numbers of an array's tasks off after 64 characters (squeue(1)).
export SLURM_TIME_FORMAT=%s SLURM_BITSTR_LEN=0
# JOB|RUN|TASKS|those whose end is known|the number that the run gives the first
asked='[= asked | join("\n") =]'

# The controller picks out this person's jobs, awk below those asked for: squeue --jobs would ask the controller the same, look
# through the whole list for each job, and of one job that the controller has forgotten it makes an error. The free texts come last.
# Its answer is not held, since this person may have any number of other jobs.
ask_queue() { squeue --all --noheader --states=all --user="$(id -un)" --Format='[= queue_format =],Comment:|,Name:|'; }

# What awk needs to read task numbers as Slurm writes them: 7, [3,5-9%2], 0-98:2, N/A. A job has no more than size[job] tasks:
# an answer that names a million of them, or a step of 0, costs no more time than an honest one.
read_spans='
  function spread(text, job, mark,    part, count, i, ends, last, step, number) {
    gsub(/[][]|%.*/, "", text)
    if (text == "N/A" || text == "") text = "0"
    count = text == "-" ? 0 : split(text, part, ",")
    for (i = 1; i <= count; i++) {
      step = part[i] ~ /:/ ? substr(part[i], index(part[i], ":") + 1) + 0 : 1
      if (step < 1) step = 1
      sub(/:.*/, "", part[i])
      if (split(part[i], ends, "-") < 2) ends[2] = ends[1]
      last = ends[2] + 0 < size[job] ? ends[2] + 0 : size[job] - 1
      for (number = ends[1] + 0; number <= last; number += step) seen[job, number] = mark
    }
  }'

# Sorts squeue's answer: "q LINE" is what is new in it, "o JOB|RUN|TASK|MARK|ITS NUMBER IN THE RUN" a task that is not alive there; the mark tells
# whether squeue shows its end. What is known to have ended is left out.
sort_queue() {
  { printf '%s\n' "$asked" "" && limited [= most_in_all =] ask_queue; } | awk -F'|' "$read_spans"'
  !listed && NF { named[$1] = $2 ($5 ? "." $5 : ""); of[$1] = $2; job[++runs] = $1; run[runs] = $2; tasks[runs] = $3; first[runs] = $5; size[$1] = $3; spread($4, $1, "over") }
  !NF { listed = 1 }
  listed && NF {
    # A job without the run in its comment or its name has the number of one that a crash of the controller lost, or that was long ago.
    if (!($1 in named)) next
    # Each field ends with a bar. A row that was cut off may be the job of this run: it goes on as one that cannot be read.
    if (NF < 10) { print "q " $1 "|?" $0; next }
    if (end = index($0, "|hpcdeploy:" named[$1] "|")) $0 = substr($0, 1, end)
    else if (end = index($0, "|hpcdeploy:" of[$1] "|")) $0 = substr($0, 1, end)
    else if (NF > 8 && $(NF - 1) == named[$1]) $0 = $1 "|" $2 "|" $3 "|" $4 "|" $5 "|" $6 "|" $7 "|"
    else next
    if ($2 ~ /^[0-9]+$/ || $2 == "N/A") { if (seen[$1, $2 + 0] == "over") next }
    print "q " $0
    spread($2, $1, $3 ~ /^(COMPLETED|FAILED|CANCELLED|TIMEOUT|DEADLINE|OUT_OF_MEMORY|NODE_FAIL|BOOT_FAIL|PREEMPTED|REVOKED)/ ? "ended" : "alive")
  }
  END {
    for (i = 1; i <= runs; i++) for (task = 0; task < tasks[i]; task++)
      if (seen[job[i], task] !~ /alive|over/) print "o " job[i] "|" run[i] "|" task "|" seen[job[i], task] "|" first[i] + task
  }'
  return "${PIPESTATUS[0]}"
}
sorted=$(limited [= most =] sort_queue)
queue_code=$?
check_limit squeue "$queue_code"
queue_new() { sed -n 's/^q //p' <<<"$sorted" && return "$queue_code"; }
section squeue queue_new

# What these tasks noted themselves: RUN TASK start|end TIME ...
declare -A noted=()
notes="" unexplained="" last=""
while IFS='|' read -r job run _ mark task; do
  if [ "$run" != "$last" ]; then
    last=$run
    # Looking through the folder first makes NFS look again too.
    for file in "$runs/$run/tasks/"*; do [ -e "$file" ] && noted[${file##*/tasks/}]=$run; done
    [ ! -e "$runs/$run/cancelled" ] || notes+="$run - cancelled 0"$'\n'
  fi
  for kind in start end; do
    [ "${noted[$task.$kind]-}" = "$run" ] || continue
    IFS= read -r text <"$runs/$run/tasks/$task.$kind" && notes+="$run $task $kind $text"$'\n'
  done
  [[ $mark == ended && ${noted[$task.end]-} == "$run" ]] || [[ ,$unexplained == *,$job ]] || unexplained+=${unexplained:+,}$job
done < <(sed -n 's/^o //p' <<<"$sorted")
section records printf '%s' "$notes"

[% include "slurm_templates/release.sh" %]
if [ -n "$unexplained" ]; then
  # Of a task that is alive, or known to have ended, nothing need be said.
  ask_accounting() {
    { printf '%s\n' "$sorted" "" &&
      limited [= most_in_all =] sacct --noheader --allocations --parsable2 --format='[= accounting_format =]' --jobs="$unexplained"; } |
      awk -F'|' '
        !listed && sub(/^o /, "") { open[$3 == 0 ? $1 : $1 "_" $3]; open[$1 "_" $3] }
        !NF { listed = 1 }
        listed && ($1 in open || $1 ~ /\[/)'
    return "${PIPESTATUS[0]}"
  }
  accounting=$(limited [= most =] ask_accounting)
  accounting_code=$?
  check_limit sacct "$accounting_code"
  # Whether there is something to ask, and it only does not answer now.
  accounting_is_kept() { command -v sacct >/dev/null && case $(sacct --noheader 2>&1) in *"is disabled"*) return 1 ;; esac; }
  accounting_new() { [ -z "$accounting" ] || printf '%s\n' "$accounting"; return "$accounting_code"; }
  if [ "$accounting_code" = 0 ] || accounting_is_kept; then section sacct accounting_new; fi
  # Before 25.11 sacct subtracts 128 from exit codes of 128 and more (CHANGELOG of 25.11), so that 9 may be 137. Its JSON has them
  # as they are. A job that ended well, by a signal or without a node has no such code.
  if [ "$accounting_code" = 0 ] && [ "$(slurm_release sacct)" -lt 2511 ]; then
    altered=$(accounting_new | awk -F'|' '
      $3 ~ /:0$/ && ($3 != "0:0" || $2 == "FAILED") && $4 != "None assigned" && ++count <= 1000 { printf "%s%s", comma, $1; comma = "," }')
    [ -z "$altered" ] || section sacct_json sacct --json --allocations --jobs="$altered"
  fi
fi
