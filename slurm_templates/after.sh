# What this run waits for, as sbatch --dependency has it.
dependency=
# await KIND RUN TASKS: this run is to start after that one. While Slurm has its jobs alive, Slurm waits. One that ended is judged
# here: Slurm forgets a job soon (MinJobAge in slurm.conf(5)), and sbatch then refuses its id, "Job dependency problem". The id alone
# does not tell a job, since Slurm gives ids out again (MaxJobId there).
await() {
  local kind=$1 other=$2 tasks=$3 folder=$root/runs/$2 size=0 link first last queue rest job state task code ids="" badly=""
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
    die 13 "squeue could not be asked whether run $other, which this one waits for, has ended"
  while IFS='|' read -r _ job state rest; do
    first=${first_of[${job:-none}]-}
    [ -n "$first" ] || continue
    [ "$first" != 0 ] || first=""
    bears "|$rest" "$other${first:+.$first}" || continue
    case $state in
      "" | COMPLETED) ;;
      FAILED | CANCELLED | TIMEOUT | DEADLINE | OUT_OF_MEMORY | NODE_FAIL | BOOT_FAIL | PREEMPTED | REVOKED) badly="is $state" ;;
      *) alive[$job]=yes ;;
    esac
  done <<<"$queue"
  # A large run has several jobs, of which some may have ended; part-size tells how many tasks each has.
  [ ! -s "$folder/part-size" ] || read -r size <"$folder/part-size" || true
  for job in "${jobs[@]}"; do
    if [ -n "${alive[$job]-}" ]; then
      ids+=${ids:+:}$job
      continue
    fi
    # The tasks' own notes: a task that was killed or never started left none.
    first=${first_of[$job]} last=$tasks
    [ "$size" = 0 ] || [ $((first + size)) -ge "$tasks" ] || last=$((first + size))
    for ((task = first; task < last; task++)); do
      code="nothing"
      [ ! -s "$folder/tasks/$task.end" ] || read -r _ code _ <"$folder/tasks/$task.end" || true
      [ "$code" = 0 ] || { badly="${badly:-has failed}: task $task noted $code as its exit code" && break; }
    done
  done
  case $kind in
    afterok) [ -z "$badly" ] ||
      die 12 "this run is to start once run $other has ended well, but that $badly; submit it again, or say afterany" ;;
    afternotok)
      if [ -n "$badly" ]; then
        # That it fails is known; that all of it has ended is still to come.
        kind=afterany
      elif [ -z "$ids" ]; then
        die 12 "this run is to start only if run $other fails, but that has ended well"
      elif [[ $ids == *:* ]]; then
        # Of several afternotok Slurm wants all to fail, and of several with a ? between them it does not wait for the others.
        die 12 "run $other has several jobs, and Slurm cannot wait until all have ended and one has failed; say afterany"
      fi ;;
  esac
  if [ -n "$ids" ]; then
    dependency+=${dependency:+,}$kind:$ids
  else
    say "run $other, which this one waits for, has ended"
  fi
}
