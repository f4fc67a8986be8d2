# Slurm: one squeue for all of them; sacct only for those that squeue no longer shows as alive.
export SLURM_TIME_FORMAT=%s
jobs=([= job_ids | words =])
run_ids=([= run_ids | words =])

queue() { squeue --noheader --states=all --user="$(id -un)" --format='[= queue_format =]'; }
queue_answer=$(queue)
queue_code=$?
queue_again() { printf '%s\n' "$queue_answer" && return "$queue_code"; }
section squeue queue_again

declare -A alive=()
while IFS='|' read -r job _ state _; do
  case $state in PENDING | RUNNING | CONFIGURING | COMPLETING | SUSPENDED) alive[$job]=1 ;; esac
done <<<"$queue_answer"
asked=""
for job in "${jobs[@]}"; do [ -n "${alive[$job]-}" ] || asked+=${asked:+,}$job; done
[ -z "$asked" ] || section sacct sacct --noheader --allocations --parsable2 --format='[= accounting_format =]' --jobs="$asked"

# What each task noted itself: RUN TASK start|end TIME ...
records() {
  local run file text
  for run in "${run_ids[@]}"; do
    [ ! -e "$runs/$run/cancelled" ] || printf '%s - cancelled 0\n' "$run"
    for file in "$runs/$run"/tasks/*.start "$runs/$run"/tasks/*.end; do
      [ -e "$file" ] || continue
      IFS= read -r text <"$file"
      file=${file##*/}
      printf '%s %s %s %s\n' "$run" "${file%.*}" "${file##*.}" "$text"
    done
  done
}
section records records
