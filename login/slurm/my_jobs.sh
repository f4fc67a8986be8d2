# --- login/slurm/my_jobs.sh: list the user's jobs, one per line: SUBMITTED|JOB|STATE|NODES|REASON|COMMENT|NAME. The last three
# are free texts. The arguments are options of squeue that select the jobs.
my_jobs() {
  SLURM_TIME_FORMAT=%s squeue --noheader --user="$(id -un)" --format='%V|%F|%T|%N|%r|%k|%j' "$@"
}

# Test whether the line $1 of squeue or sacct belongs to the job that a run calls $2. That is the job's name, which users and sites
# change (scontrol update JobName, a job_submit plugin), and it is in the job's comment. Earlier versions gave all arrays of a run
# the same comment: there only the name differs.
belongs_to() {
  case $1 in
    *"|$2."[0-9]*) return 1 ;;
    *"|hpcdeploy:$2|"* | *"|$2") ;;
    *) return 1 ;;
  esac
}
