#!/bin/bash
# Tells whether run [= run_id =] may start, which waits for others. Written by hpcdeploy [= version =].
# DAGMan asks before it submits job.sub (job.dag); "wait.sh now" only tells. It reads the other runs' event logs.
# Exit status: 0 it may start; 75 not yet; 1 it never may, and why.
[% include "login_templates/state.sh" %]
cd -- "$(dirname -- "$0")" || exit 75
[% set setup_must_succeed = false %]
[% set setup_exit = "exit 1" %]
[% include "login_templates/setup.sh" %]
set -u

# Prints where the $2 tasks of run $1 are: "open", "well", or what became of one that did not end well. Events: 000 and 035
# submitted, 005 ended, 009 removed, 036 what was not made yet never will be ("Job Event Log Codes"). A run that waited itself
# has the number of its DAGMan, whose end is the run's where there is no other job.
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
        else if (end[task] != "ended with 0" && !badly) badly = "task " task " " end[task]
      }
      print open ? "open" : badly ? badly : "well"
    }' ${logs[@]+"${logs[@]}"} </dev/null
}

# Of a run that ended well, and whose tasks note their program's begin: whether all began.
begins() {
  local task
  for ((task = 0; task < $2; task++)); do
    [ -e "../$1/tasks/$task.begun" ] || { echo "the program of task $task never began" && return; }
  done
  echo well
}

# Whether HTCondor has nothing of run $1 any more. It is asked when that run's log has not changed for ten minutes, and no more
# often than that.
gone() {
  local found
  [ -z "$(find "../$1/events.log" "asked.$1" -mmin -10 2>/dev/null)" ] || return 1
  : >"asked.$1"
  found=$(condor_q -nobatch -constraint "HpcdeployRun == \"$1\"" -autoformat ClusterId) && [ -z "$found" ]
}

# Says why this run is never to start, and what one can do. Its DAGMan is removed with that reason, as Slurm cancels such a job.
never() {
  echo "this run was to start $1${2:+; $2}" >&2
  if [ -z "$by_hand" ]; then
    echo "this run was to start $1${2:+; $2}" >>logs/0.err
    condor_rm -reason "it was to start $1" "$dagman" && sleep 60
  fi
  exit 1
}

# await KIND RUN TASKS: this run is to start after that one.
open=""
declare -A read=()
await() {
  local kind=$1 other=$2 tasks=$3 how
  # One run may be waited for in two ways: what was read of it now counts for both.
  how=${read[$other]-}
  if [ -z "$how" ]; then
    # To read a log of thousands of tasks costs this machine something: that is done once a minute.
    if [ -n "$(find "../$other/events.log" -size +1000k 2>/dev/null)" ] && [ -n "$(find "read.$other" -mmin -1 2>/dev/null)" ]; then
      open=$other
      return
    fi
    : >"read.$other"
    how=$(ends "$other" "$tasks")
    [ "$how" != well ] || [ ! -e "../$other/notes-begin" ] || how=$(begins "$other" "$tasks")
    if [ "$how" = open ] && gone "$other"; then
      how=$(ends "$other" "$tasks")
      [ "$how" != open ] || how="it is gone from the queue and its event log tells no end"
    fi
    read[$other]=$how
  fi
  case $kind:$how in
    # Nothing at all: the log could not be read in this moment.
    *:open | *:) open=$other ;;
    afterok:well | afterany:*) ;;
    afterok:*) never "once run $other had ended well, but $how" "submit it again, or say afterany" ;;
    afternotok:well) never "only if run $other failed, but that has ended well" ;;
  esac
}

by_hand=${1-}
dagman=${CONDOR_ID-}
dagman=${dagman%%.*}
# A run that was cancelled while nobody was sure of it may still get a DAGMan, late.
if [ -z "$by_hand" ] && [ -e cancelled ]; then
  condor_rm -reason "the run was cancelled" "$dagman" && sleep 60
  exit 1
fi
# Where locks hold on one machine only two DAGMans may have been submitted: the run's is the one that the link names.
if [ -z "$by_hand" ]; then
  ln -sT -- "$dagman" id 2>/dev/null
  [ "$(readlink -- id)" = "$dagman" ] || exit 1
fi
[% for other in after %]
await [= other.kind =] [= other.run_id | word =] [= other.tasks =]
[% endfor %]
[ -z "$open" ] || exit 75
