# --- login/slurm/after.sh: set dependency to the jobs that this run waits for, in the syntax of sbatch --dependency.

# await KIND RUN TASKS: start this run after RUN. Jobs of RUN that are in the queue are added to dependency. For jobs that have ended, check
# here how they ended, because Slurm soon forgets a job (MinJobAge in slurm.conf(5)), and sbatch then rejects its id ("Job dependency
# problem"). A job is identified by its id and the run's name, because Slurm reuses ids (MaxJobId in slurm.conf(5)).
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
  # A large run has several jobs, and some of them may have ended. The file part-size contains the number of tasks of each job.
  [ ! -s "$folder/part-size" ] || read -r size <"$folder/part-size" || true
  for job in "${jobs[@]}"; do
    if [ -n "${alive[$job]-}" ]; then
      ids+=${ids:+:}$job
      continue
    fi
    # The job has ended: read the exit codes that its tasks recorded. A task that was killed or never started recorded none.
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
        # One task of the other run has failed, but the run has not ended: wait for its end, however it ends.
        kind=afterany
      elif [ -z "$ids" ]; then
        die 12 "this run starts only if run $other fails, but that run succeeded"
      elif [[ $ids == *:* ]]; then
        # Slurm has no dependency for this: of several afternotok it requires that all jobs fail, and with ? between them it starts
        # the run as soon as one has failed.
        die 12 "run $other has several jobs, and Slurm cannot wait until all have ended and one has failed; use afterany"
      fi ;;
  esac
  if [ -n "$ids" ]; then
    dependency+=${dependency:+,}$kind:$ids
  else
    say "run $other, which this one waits for, has ended"
  fi
}
