# --- login/slurm/after.sh: set dependency to what this run waits for, in the syntax of sbatch --dependency.

# await KIND RUN TASKS: start this run after that one. While jobs of that run are in the queue, Slurm waits for them. A job that ended is
# classified here: Slurm soon forgets it (MinJobAge in slurm.conf(5)), and sbatch then rejects its id, "Job dependency problem". The id
# alone does not identify a job, because Slurm reuses ids (MaxJobId there).
await() {
  local kind=$1 other=$2 tasks=$3 folder=$root/runs/$2 size=0 link first last queue rest job state task code ids="" problem=""
  local -a jobs=()
  local -A first_of=() alive=()
  for link in "$folder/id" "$folder"/id.*; do
    [ -L "$link" ] || continue
    first=${link#"$folder/id"}
    job=$(readlink -- "$link")
    jobs+=("$job")
    first=${first#.}
    first_of[$job]=${first:-0}
  done
  [ "${#jobs[@]}" != 0 ] || die 12 "run $other, which this one waits for, has no job on this cluster; submit it first"
  queue=$(my_jobs --all --states=all) ||
    die 13 "cannot query squeue whether run $other, which this one waits for, has ended"
  while IFS='|' read -r _ job state rest; do
    first=${first_of[${job:-none}]-}
    [ -n "$first" ] || continue
    [ "$first" != 0 ] || first=""
    belongs_to "|$rest" "$other${first:+.$first}" || continue
    case $state in
      "" | COMPLETED) ;;
      FAILED | CANCELLED | TIMEOUT | DEADLINE | OUT_OF_MEMORY | NODE_FAIL | BOOT_FAIL | PREEMPTED | REVOKED) problem="is $state" ;;
      *) alive[$job]=yes ;;
    esac
  done <<<"$queue"
  # A large run has several jobs, of which some may have ended; part-size is the number of tasks of each.
  [ ! -s "$folder/part-size" ] || read -r size <"$folder/part-size" || true
  for job in "${jobs[@]}"; do
    if [ -n "${alive[$job]-}" ]; then
      ids+=${ids:+:}$job
      continue
    fi
    # Read the tasks' own records: a task that was killed or never started left none.
    first=${first_of[$job]} last=$tasks
    [ "$size" = 0 ] || [ $((first + size)) -ge "$tasks" ] || last=$((first + size))
    for ((task = first; task < last; task++)); do
      code="no exit code"
      [ ! -s "$folder/tasks/$task.end" ] || { read -r _ code _ <"$folder/tasks/$task.end" && code="exit code $code"; } || true
      [ "$code" = "exit code 0" ] || { problem="${problem:-failed}: task $task recorded $code" && break; }
    done
  done
  case $kind in
    afterok) [ -z "$problem" ] ||
      die 12 "this run starts only if run $other succeeds, but that run $problem; submit that run again, or use afterany" ;;
    afternotok)
      if [ -n "$problem" ]; then
        # It is known that the run fails, but not all of it has ended.
        kind=afterany
      elif [ -z "$ids" ]; then
        die 12 "this run starts only if run $other fails, but that run succeeded"
      elif [[ $ids == *:* ]]; then
        # With several afternotok Slurm requires that all fail; with ? between them it does not wait for the others.
        die 12 "run $other has several jobs, and Slurm cannot wait until all have ended and one has failed; use afterany"
      fi ;;
  esac
  if [ -n "$ids" ]; then
    dependency+=${dependency:+,}$kind:$ids
  else
    say "run $other, which this one waits for, has ended"
  fi
}
