# --- login/slurm/follow.sh: print the rows of squeue for the queried jobs, the records that their tasks wrote, and the rows of sacct for
# tasks whose end neither squeue nor a record shows. $queried has a line for each job:
# JOB|RUN|NUMBER OF TASKS|TASKS KNOWN TO HAVE ENDED|NUMBER OF ITS FIRST TASK IN THE RUN
set -u
runs=$root/runs
# Without SLURM_BITSTR_LEN squeue cuts off the task numbers of an array after 64 characters (squeue(1)).
export SLURM_TIME_FORMAT=%s SLURM_BITSTR_LEN=0

# Query all jobs of the user; awk selects the queried ones. squeue --jobs is not used: slurmctld would search its whole list for each job,
# and report an error for a job that it has forgotten. The output is not stored, because the user may have any number of other jobs.
query_queue() { squeue --all --noheader --states=all --user="$(id -un)" --Format="$queue_format,Comment:|,Name:|"; }

# awk code that reads task numbers as Slurm writes them: 7, [3,5-9%2], 0-98:2, N/A. A job has at most size[job] tasks, so that a row
# with a million tasks, or a step of 0, takes no more time than a correct one.
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

# Select rows of squeue, and print two kinds of lines: "q ROW" is a row of a queried job. "o JOB|RUN|TASK|MARK|NUMBER IN THE RUN" is a task
# that is not alive according to squeue; MARK is "ended" if squeue shows its end. Tasks known to have ended are left out.
sort_queue() {
  { printf '%s\n' "$queried" "" && limited "$most_in_all" query_queue; } | awk -F'|' "$read_spans"'
  !listed && NF { named[$1] = $2 ($5 ? "." $5 : ""); of[$1] = $2; job[++runs] = $1; run[runs] = $2; tasks[runs] = $3; first[runs] = $5; size[$1] = $3; spread($4, $1, "finished") }
  !NF { listed = 1 }
  listed && NF {
    # Skip a job that does not name the run in its comment or name: slurmctld reused the id of an old job, or of a job lost in a crash.
    if (!($1 in named)) next
    # Each field ends with a bar. A row that was cut off may be the job of this run: print it as one that cannot be parsed.
    if (NF < 10) { print "q " $1 "|?" $0; next }
    if (end = index($0, "|hpcdeploy:" named[$1] "|")) $0 = substr($0, 1, end)
    else if (end = index($0, "|hpcdeploy:" of[$1] "|")) $0 = substr($0, 1, end)
    else if (NF > 8 && $(NF - 1) == named[$1]) $0 = $1 "|" $2 "|" $3 "|" $4 "|" $5 "|" $6 "|" $7 "|"
    else next
    if ($2 ~ /^[0-9]+$/ || $2 == "N/A") { if (seen[$1, $2 + 0] == "finished") next }
    print "q " $0
    spread($2, $1, $3 ~ /^(COMPLETED|FAILED|CANCELLED|TIMEOUT|DEADLINE|OUT_OF_MEMORY|NODE_FAIL|BOOT_FAIL|PREEMPTED|REVOKED)/ ? "ended" : "alive")
  }
  END {
    for (i = 1; i <= runs; i++) for (task = 0; task < tasks[i]; task++)
      if (seen[job[i], task] !~ /alive|finished/) print "o " job[i] "|" run[i] "|" task "|" seen[job[i], task] "|" first[i] + task
  }'
  return "${PIPESTATUS[0]}"
}
sorted=$(limited "$most" sort_queue)
queue_code=$?
check_limit squeue "$queue_code"
queue_rows() { sed -n 's/^q //p' <<<"$sorted" && return "$queue_code"; }
section squeue queue_rows

# Print the records of the tasks that are not alive: RUN TASK start|end TIME ...
declare -A recorded=()
records="" unexplained="" last=""
while IFS='|' read -r job run _ mark task; do
  if [ "$run" != "$last" ]; then
    last=$run
    # Listing the folder makes NFS refresh it.
    for file in "$runs/$run/tasks/"*; do [ -e "$file" ] && recorded[${file##*/tasks/}]=$run; done
    [ ! -e "$runs/$run/cancelled" ] || records+="$run - cancelled 0"$'\n'
  fi
  for kind in start end; do
    [ "${recorded[$task.$kind]-}" = "$run" ] || continue
    IFS= read -r text <"$runs/$run/tasks/$task.$kind" && records+="$run $task $kind $text"$'\n'
  done
  [[ $mark == ended && ${recorded[$task.end]-} == "$run" ]] || [[ ,$unexplained == *,$job ]] || unexplained+=${unexplained:+,}$job
done < <(sed -n 's/^o //p' <<<"$sorted")
section records printf '%s' "$records"

# Query sacct only for tasks whose end is still unknown.
query_accounting() {
  { printf '%s\n' "$sorted" "" &&
    limited "$most_in_all" sacct --noheader --allocations --parsable2 --format="$accounting_format" --jobs="$unexplained"; } |
    awk -F'|' '
      !listed && sub(/^o /, "") { open[$3 == 0 ? $1 : $1 "_" $3]; open[$1 "_" $3] }
      !NF { listed = 1 }
      listed && ($1 in open || $1 ~ /\[/)'
  return "${PIPESTATUS[0]}"
}
# Test whether the site has accounting, so that a failure of sacct is temporary.
accounting_exists() { command -v sacct >/dev/null && case $(sacct --noheader 2>&1) in *"is disabled"*) return 1 ;; esac; }
accounting_rows() { [ -z "$accounting" ] || printf '%s\n' "$accounting"; return "$accounting_code"; }
if [ -n "$unexplained" ]; then
  accounting=$(limited "$most" query_accounting)
  accounting_code=$?
  check_limit sacct "$accounting_code"
  if [ "$accounting_code" = 0 ] || accounting_exists; then section sacct accounting_rows; fi
  # Before 25.11 sacct subtracts 128 from exit codes of 128 and more (CHANGELOG of 25.11), so 9 may mean 137. The exact codes are in its
  # JSON output, which is requested for jobs that may have such a code: not if they succeeded, were ended by a signal, or had no node.
  if [ "$accounting_code" = 0 ] && [ "$(slurm_release sacct)" -lt 2511 ]; then
    altered=$(accounting_rows | awk -F'|' '
      $3 ~ /:0$/ && ($3 != "0:0" || $2 == "FAILED") && $4 != "None assigned" && ++count <= 1000 { printf "%s%s", comma, $1; comma = "," }')
    [ -z "$altered" ] || section sacct_json sacct --json --allocations --jobs="$altered"
  fi
fi
