#!/bin/sh
# Run [= run_id =], written by hpcdeploy [= version =]. This runs inside the container, once for each task; its [= 'last ' if container == "apptainer" =]arguments are the
# task's number and the job's id[= ', then its line of the file "parameters"' if task_lines =].
# The command and its variables are quoted here, and no other shell interprets them.
[% if container == "apptainer" %]
# The first argument is a file. It is emptied to record that the program started (login/job/not_started.sh).
[ -z "$1" ] || true >"$1"
shift
[% elif notes_begin %]
# Record that the program started: HTCondor transfers this file into the run's folder (job.sub).
true >.hpcdeploy-begun
[% endif %]
export HPCDEPLOY_RUN=[= run_id | word =]
export HPCDEPLOY_TASK="[= '$3' if task_lines else '$1' =]"
export HPCDEPLOY_JOB_ID="$2"
export HPCDEPLOY_RESTART="${HPCDEPLOY_RESTART:-0}"
export HPCDEPLOY_IMAGE_SHA256=[= sha256 =]
[% if arrives_as %]
if [ "$(sha256sum <'./[= arrives_as =]')" != '[= sha256 =]  -' ]; then
  echo 'the image that HTCondor transferred, [= arrives_as =], does not match the checksum in its name' >&2
  exit 1
fi
[% endif %]
[% if task_lines %]
# printf decodes a value. A dot is appended and removed again, because $( ) would remove line breaks at the end of the value.
shift 3
[% endif %]
[% for name in parameters %]
value=$(printf '%b.' "${1#*=}")
export HPCDEPLOY_PARAM_[= name =]="${value%.}"
shift
[% endfor %]
[% if arriving %]
[% include "login/job/arrive.sh" %]
[% for name, target in arriving %]
arrive [= name =] [= target =]
[% endfor %]
[% endif %]
[% if code_place %]
export HPCDEPLOY_CODE=[= code_place =]
[% endif %]
[% for name, value in environment %]
export [= name =]=[= value | word =]
[% endfor %]
# Without a command, run the image's own run script.
set -- [= (command or ('/.singularity.d/runscript',)) | words =]
[% if warning %]
# Send the warning signal, because HTCondor sends none before its time limit. This process forwards it to the program.
(sleep [= warning[1] =] && kill -[= warning[0] =] $$) </dev/null >/dev/null 2>&1 &
[% endif %]
[% if gathering %]
is_input() {
  case $1 in
    program.sh | inside.sh | [= sha256 =].sif | [= (arrives_as | word) ~ ' | ' if arrives_as =]tmp | var | var_tmp | scratch | _condor_* | hpcdeploy-*.tar | .hpcdeploy-outputs) return 0 ;;
[% for place in places %]
    [= place =]) return 0 ;;
[% endfor %]
  esac
  return 1
}
[% include "login/job/gather.sh" %]
[% endif %]
[% include "login/job/beside.sh" %]
[% if gathering %]
gather_all [= gathering | join(' ') =]
[% endif %]
[% if sends_all %]
[% include "login/job/keep_back.sh" %]
[% endif %]
# End a second later if the output is a pipe. HTCondor reads the pipe, and loses up to 64 KiB that it has not read when the job ends (seen with
# 23.9 on a busy machine).
if [ -p /dev/stdout ] || [ -p /dev/stderr ]; then sleep 1; fi
exit "$code"
