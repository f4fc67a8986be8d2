# What this run waits for, as sbatch --dependency has it.
dependency=
# await KIND RUN TASKS: this run is to start after that one. While Slurm has its job alive, Slurm waits. One that ended is judged
# here: Slurm forgets a job soon (MinJobAge in slurm.conf(5)), and sbatch then refuses its id, "Job dependency problem". It is
# asked for by its name, since Slurm gives ids out again (MaxJobId there).
await() {
  local kind=$1 other=$2 tasks=$3 folder=$root/runs/$2 own="" names="" link queue job state ids="" badly="" task code
  for link in "$folder/id" "$folder"/id.*; do
    [ ! -L "$link" ] || { own+=":$(readlink -- "$link"):" && names+=${names:+,}$other${link#"$folder/id"}; }
  done
  [ -n "$own" ] || die 12 "run $other, which this one waits for, has no job on this cluster; submit it first"
  queue=$(squeue --noheader --states=all --user="$(id -un)" --name="$names" --format='%F %T') ||
    die 13 "squeue could not be asked whether run $other, which this one waits for, has ended"
  while read -r job state; do
    [[ $own == *":$job:"* ]] || continue
    case $state in
      "" | COMPLETED) ;;
      FAILED | CANCELLED | TIMEOUT | DEADLINE | OUT_OF_MEMORY | NODE_FAIL | BOOT_FAIL | PREEMPTED | REVOKED) badly="is $state" ;;
      *) case :$ids: in *:"$job":*) ;; *) ids+=${ids:+:}$job ;; esac ;;
    esac
  done <<<"$queue"
  if [ -n "$ids" ]; then
    dependency+=${dependency:+,}$kind:$ids
    return
  fi
  # The tasks' own notes: a task that was killed or never started left none.
  for ((task = 0; task < tasks; task++)); do
    code="nothing"
    [ ! -s "$folder/tasks/$task.end" ] || read -r _ code <"$folder/tasks/$task.end" || true
    [ "$code" = 0 ] || { badly="${badly:-has failed}: task $task noted $code as its exit code"; break; }
  done
  case $kind in
    afterok) [ -z "$badly" ] ||
      die 12 "this run is to start once run $other has ended well, but that $badly; submit it again, or say afterany" ;;
    afternotok) [ -n "$badly" ] || die 12 "this run is to start only if run $other fails, but that has ended well" ;;
  esac
  say "run $other, which this one waits for, has ended"
}
