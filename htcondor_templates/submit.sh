# How HTCondor is spoken to: write_job, submit_job, look_up, withdraw, refused, never_left.
write_job() {
  local work=[= workdir or '"$run/output"' =]
  case $run$work in
    *\$\(* | *\"*[= ' | *,*' if container == "singularity-image" or carried =]) die 10 "the path $run or $work holds \$( or a double quote[= ' or a comma' if container == "singularity-image" or carried =], which a submit description cannot say" ;;
  esac
  write "$run/program.sh" <<'[= end_of_job =]'
[= program =]
[= end_of_job =]
  chmod 0755 "$run/program.sh"
[% if container != "universe" %]
[% set starter = "job.sh" if container == "apptainer" else "inside.sh" %]
  write "$run/[= starter =]" <<'[= end_of_job =]'
[% include "htcondor_templates/" ~ starter %]
[= end_of_job =]
  chmod 0755 "$run/[= starter =]"
[% endif %]
[% if container == "apptainer" %]
  # HTCondor gives a job none of the login node's variables: what names a folder by one is expanded here. --mount, unlike --bind,
  # can name every path: its fields are quoted as in CSV (apptainer exec --help).
  field() { printf '"%s=%s"' "$1" "${2//\"/\"\"}"; }
  local binds=""[= ' from to' if binds =]

[% for bind in binds %]
  from=[= bind.source | path =]
  to=[= bind.destination | path =]
  binds+="type=bind,$(field source "$from"),$(field destination "$to")[= ',ro' if bind.read_only =]"$'\n'
[% endfor %]
  printf '%s' "$binds" | write "$run/binds"
[% endif %]
[% if array and not workdir %]
  # In one go, and not in a loop: they may be many.
  (cd -- "$run/output" && seq 0 [= tasks - 1 =] | xargs mkdir -p)
[% endif %]
[% if task_lines %]
  write "$run/parameters" <<'[= end_of_job =]'
[= task_lines =]
[= end_of_job =]
[% endif %]
[% if carried %]
  [% include "login_templates/carry.sh" %]
[% endif %]
[% if container != "apptainer" and not fetched_from %]
  use_own_copy
[% endif %]
  {
    printf '%s = %s\n' run_folder "$run" work_folder "$work[= '/\\$(Process)' if array and not workdir =]"[= ' image_file "$image"' if container != "apptainer" and not fetched_from =]
[% if notes_begin %]
    # Said to the follow script: a task of this run that began has a note. A remap has no word for these signs.
    case $run in
      *[\;=\\]*) ;;
      *)
        : >"$run/notes-begin"
        printf '%s\n' "transfer_output_remaps = \".hpcdeploy-begun=$run/tasks/\$(Process).begun\""
        ;;
    esac
[% endif %]
    cat <<'[= end_of_job =]'
[= job_script =]
[= end_of_job =]
  } | write "$run/job.sub"
[% if after %]
  write_dag
[% endif %]
}
[% if container != "apptainer" and not fetched_from %]

# HTCondor reads the image when a worker is found, hours later it may be. Where others could put another one in its place until then, it gets a copy
# that only we can change, in the root.
use_own_copy() {
  local own=$root/images/$sha256.sif part
  if [ ! -e "$image" ] || [ "$image" = "$own" ] || ! others_can_change "$image"; then return 0; fi
  mkdir -p -- "$root/images" || return 0
  is_private "$root/images" || return 0
  if [ ! -e "$own" ]; then
    { part=$(mktemp -- "$root/images/.$sha256.XXXXXXXXXX.part") && cp --reflink=auto -- "$image" "$part"; } ||
      die 10 "cannot copy the image to $root/images; make room there (a full disk, or your quota)"
    [ "$(sha256sum <"$part")" = "$sha256  -" ] || { rm -f -- "$part" && die 11 "the image $image changed while it was copied"; }
    mv -f -- "$part" "$own"
  fi
  image=$own
}
[% endif %]
[% if after %]

# What waits for other runs is a DAG of one job (condor_submit_dag(1)). condor_submit_dag writes the submit description of DAGMan
# itself, which runs here as a job of its own: that one is submitted, and is what the run has the number of.
write_dag() {
  local said code=0
  command -v condor_submit_dag >/dev/null || die 10 "condor_submit_dag is not on this machine, and by it one run waits for another (after)"
[% for other in after %]
  [ -L "$root"/runs/[= other.run_id | word =]/id ] || die 12 "run [= other.run_id =], which this one waits for, has no job on this cluster; submit it first"
[% endfor %]
  write "$run/job.dag" <<'[= end_of_job =]'
[% include "htcondor_templates/job.dag" %]
[= end_of_job =]
  write "$run/dagman.config" <<'[= end_of_job =]'
[% include "htcondor_templates/dagman.config" %]
[= end_of_job =]
  write "$run/wait.sh" <<'[= end_of_job =]'
[% include "htcondor_templates/wait.sh" %]
[= end_of_job =]
  write "$run/node.sh" <<'[= end_of_job =]'
[% include "htcondor_templates/node.sh" %]
[= end_of_job =]
  write "$run/remove.sh" <<'[= end_of_job =]'
[% include "htcondor_templates/remove.sh" %]
[= end_of_job =]
  chmod 0755 "$run/wait.sh" "$run/node.sh" "$run/remove.sh"
  said=$("$run/wait.sh" now 2>&1) || code=$?
  case $code in
    0 | 75) ;;
    1) die 12 "$said" ;;
    *) die 10 "$run/wait.sh, which DAGMan is to ask, ended with $code: $said" ;;
  esac
  # What HTCondor will refuse then is refused now.
  said=$(cd -- "$run" && condor_submit -dry-run /dev/null job.sub 2>&1 >/dev/null) || die 12 "condor_submit: $said"
  said=$(cd -- "$run" && condor_submit_dag -no_submit -update_submit -batch-name "$run_id" job.dag 2>&1) ||
    die 12 "condor_submit_dag: $said"
}
[% endif %]

# Prints the cluster id: the answer of -terse is "12.0 - 12.9".
submit_job() {
  local output line
  output=$(cd "$run" && condor_submit -terse [= 'job.dag.condor.sub' if after else 'job.sub' =]) || {
    # What it says of credentials that it cannot have, it says on its standard output.
    local code=$?
    printf '%s\n' "$output" >&2
    return "$code"
  }
  while IFS= read -r line; do
    if [[ $line =~ ^([0-9]+)\.[0-9]+\ -\ [0-9]+\.[0-9]+$ ]]; then
      printf '%s' "${BASH_REMATCH[1]}"
      return
    fi
  done <<<"$output"
  printf 'condor_submit printed no job id, but: %s\n' "$output" >&2
  return 1
}

[% include "htcondor_templates/asking.sh" %]

# Whether condor_submit said a plain no, before or instead of reaching the schedd.
refused() {
  local words
  words=$(<"$1")
  case $words in
    # Asked for before the schedd is: "Failed to process job credential requests", or where to log in.
    *"job credential requests"* | *"lease visit"*) return 0 ;;
    *"onnect"* | *"timed out"* | *"printed no job id"* | *"ommit"*) return 1 ;;
    *"ERROR"* | *"not found"*) return 0 ;;
    *) return 1 ;;
  esac
}

# Whether the schedd could not be connected to, so that it cannot have the job.
never_left() { grep -q 'ailed to connect' -- "$1"; }
