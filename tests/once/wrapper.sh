#!/bin/bash
# Stands before the scheduler's own command on the login node and lets a test break what happens there, once for each run.
# HPCDEPLOY_ONCE says how, HPCDEPLOY_ONCE_DONE is a folder that appears when it was done.
real=/usr/bin/${0##*/}
case " $* " in *" -dry-run "* | *" --version "* | *" --test-only "*) exec "$real" "$@" ;; esac
how=exact
[ -z "${HPCDEPLOY_ONCE-}" ] || { mkdir "$HPCDEPLOY_ONCE_DONE" 2>/dev/null && how=$HPCDEPLOY_ONCE; }

# All that this login runs ends at once, as when the machine is switched off.
gone() { kill -KILL 0; }
unanswered() {
  echo "${0##*/}: error: Batch job submission failed: Socket timed out on send/recv operation" >&2
  exit 1
}
# On its own, and without the files that are open here: it holds no lock.
apart() {
  local file
  for file in /proc/"$BASHPID"/fd/*; do
    file=${file##*/}
    [ "$file" -le 2 ] || eval "exec $file>&-"
  done
  setsid "$@" </dev/null >/dev/null 2>&1 &
}

case $how in
  before) gone ;;
  during*) ( "$real" "$@" & sleep "${how#during }"; gone ) ;;
  after) "$real" "$@"; gone ;;
  lost) "$real" "$@" >/dev/null; unanswered ;;
  denied) "$real" "$@" >/dev/null; echo "${0##*/}: error: Batch job submission failed: Unspecified error" >&2; exit 1 ;;
  mute) "$real" "$@" >/dev/null ;;
  never) unanswered ;;
  late*) apart bash -c 'sleep "$0"; exec "$@"' "${how#late }" "$real" "$@"; unanswered ;;
  full)
    # Nothing more can be made in the run's folder.
    "$real" "$@"
    number=0
    while : >"fill-$((number += 1))"; do :; done 2>/dev/null
    ;;
  *) exec "$real" "$@" ;;
esac
