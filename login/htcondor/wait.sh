# --- login/htcondor/wait.sh: decide whether this run may start, from the event logs of the runs that it waits for. $after has three words for
# each of them: kind, run and number of tasks.
set -u

# Print the state of the $2 tasks of run $1: "open" (not finished), "well" (all succeeded), or how a task failed. Events ("Job Event Log Codes"):
# 000 and 035 submitted, 005 ended, 009 removed, 036 tasks that do not exist yet will not be created. If the run $1 waits for
# other runs itself, its job id is the id of its DAGMan job. Such a run has also ended if DAGMan ended without submitting the job.
ends() {
  local folder=../$1 dag=0 log logs=()
  [ ! -e "$folder/job.dag" ] || dag=1
  for log in "$folder/job.dag.dagman.log" "$folder/events.log"; do [ ! -r "$log" ] || logs+=("$log"); done
  awk -v job="$(readlink -- "$folder/id")" -v dag="$dag" -v tasks="$2" '
    /^[0-9][0-9][0-9] \(/ {
      split($2, number, /[(.)]/)
      task = number[3] + 0
      dagman = FILENAME ~ /dagman.log$/
      code = (dag && !dagman) || number[2] + 0 == job ? $1 : ""
      if (dagman) { if (code ~ /005|009/) ended = 1; code = "" }
      if (code ~ /000|035/) submitted = 1
      if (code == "009") end[task] = "was removed"
      if (code == "036") none = 1
    }
    code == "005" && sub(/.*Normal termination \(return value /, "") { end[task] = "ended with " ($0 + 0) }
    code == "005" && sub(/.*Abnormal termination \(signal /, "") { end[task] = "ended with " (128 + $0) }
    END {
      for (task = 0; task < tasks; task++) {
        if (!(task in end) && (none || ended && !submitted)) end[task] = "never began"
        if (!(task in end)) open = 1
        else if (end[task] != "ended with 0" && !failure) failure = "task " task " " end[task]
      }
      print open ? "open" : failure ? failure : "well"
    }' ${logs[@]+"${logs[@]}"} </dev/null
}

# Print "well" if the programs of all $2 tasks of run $1 started, else which did not. Use this only for a run that succeeded, and whose tasks
# record the start.
begins() {
  local task
  for ((task = 0; task < $2; task++)); do
    [ -e "../$1/tasks/$task.begun" ] || { echo "the program of task $task never began" && return; }
  done
  echo well
}

# Test whether HTCondor has no job of run $1. To limit queries, the answer is "no" without a query if the run's log has changed, or HTCondor was
# queried about the run, in the last ten minutes.
is_gone() {
  local found
  [ -z "$(find "../$1/events.log" "asked.$1" -mmin -10 2>/dev/null)" ] || return 1
  : >"asked.$1"
  found=$(condor_q -nobatch -constraint "HpcdeployRun == \"$1\"" -autoformat ClusterId) && [ -z "$found" ]
}

# Report why this run will never start, and what to do. Its DAGMan is removed with this reason; Slurm cancels such a job, too.
never() {
  echo "this run was to start $1${2:+; $2}" >&2
  if [ -z "$by_hand" ]; then
    echo "this run was to start $1${2:+; $2}" >>logs/0.err
    condor_rm -reason "it was to start $1" "$dagman" && sleep 60
  fi
  exit 1
}

# await KIND RUN TASKS: set open if this run must still wait for RUN; end with a reason if this run can never start.
open=""
declare -A state_of=()
await() {
  local kind=$1 other=$2 tasks=$3 state
  # Read the log of a run only once, because this run may wait for it with two kinds.
  state=${state_of[$other]-}
  if [ -z "$state" ]; then
    # A large log (of thousands of tasks) is read at most once per minute, because reading it takes CPU time on this machine.
    if [ -n "$(find "../$other/events.log" -size +1000k 2>/dev/null)" ] && [ -n "$(find "read.$other" -mmin -1 2>/dev/null)" ]; then
      open=$other
      return
    fi
    : >"read.$other"
    state=$(ends "$other" "$tasks")
    [ "$state" != well ] || [ ! -e "../$other/notes-begin" ] || state=$(begins "$other" "$tasks")
    if [ "$state" = open ] && is_gone "$other"; then
      state=$(ends "$other" "$tasks")
      [ "$state" != open ] || state="it is gone from the queue and its event log shows no end"
    fi
    state_of[$other]=$state
  fi
  case $kind:$state in
    # The state is empty if the log could not be read at this moment.
    *:open | *:) open=$other ;;
    afterok:well | afterany:*) ;;
    afterok:*) never "once run $other had ended well, but $state" "submit it again, or use afterany" ;;
    afternotok:well) never "only if run $other failed, but that has ended well" ;;
  esac
}

by_hand=${1-}
dagman=${CONDOR_ID-}
dagman=${dagman%%.*}
# If the run was cancelled before its job id was known, DAGMan may have been submitted afterwards: remove it.
if [ -z "$by_hand" ] && [ -e cancelled ]; then
  condor_rm -reason "the run was cancelled" "$dagman" && sleep 60
  exit 1
fi
# Two DAGMans may have been submitted if locks have effect on one machine only. Only the one that the link "id" names may continue.
if [ -z "$by_hand" ]; then
  ln -sT -- "$dagman" id 2>/dev/null
  [ "$(readlink -- id)" = "$dagman" ] || exit 1
fi
for ((next = 0; next < ${#after[@]}; next += 3)); do await "${after[@]:next:3}"; done
[ -z "$open" ] || exit 75
