# --- login/slurm/my_jobs.sh: list the user's jobs, one per line: SUBMITTED|JOB|STATE|NODES|REASON|COMMENT|NAME. The last three
# fields are free text, which may contain a bar. The arguments are options of squeue that select the jobs.
my_jobs() {
  SLURM_TIME_FORMAT=%s squeue --noheader --user="$(id -un)" --format='%V|%F|%T|%N|%r|%k|%j' "$@"
}

# Test whether the line $1 of squeue or sacct belongs to the job with the name $2. hpcdeploy writes this name into the comment too, because
# users and sites may change a job's name (scontrol update JobName, a job_submit plugin). Earlier versions of hpcdeploy gave all arrays of a
# run the same comment; there, a name of another chunk excludes the line.
belongs_to() {
  case $1 in
    *"|$2."[0-9]*) return 1 ;;
    *"|hpcdeploy:$2|"* | *"|$2") ;;
    *) return 1 ;;
  esac
}
