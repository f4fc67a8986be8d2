# Prints this person's jobs, one a line: SUBMITTED|JOB|STATE|NODES|REASON|COMMENT|NAME. The last three are free texts. The
# arguments are options of squeue that choose the jobs.
my_jobs() {
  SLURM_TIME_FORMAT=%s squeue --noheader --user="$(id -un)" --format='%V|%F|%T|%N|%r|%k|%j' "$@"
}

# Whether the line $1, of squeue or sacct, is of the job that a run calls $2. That name is the job's name, which users and sites change
# (scontrol update JobName, a job_submit plugin), and is in its comment. Earlier versions gave all arrays of a run one comment: there
# only the name tells them apart.
bears() {
  case $1 in
    *"|$2."[0-9]*) return 1 ;;
    *"|hpcdeploy:$2|"* | *"|$2") ;;
    *) return 1 ;;
  esac
}
