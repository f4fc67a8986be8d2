#!/bin/bash
# Cancels runs. Written by hpcdeploy [= version =].
main() {
set -u
[% for line in setup %]
[= line =]
[% endfor %]
runs=[= root =]/runs
run_ids=([= run_ids | words =])
# Noted first: a task that never started leaves no other trace of having been cancelled.
for run in "${run_ids[@]}"; do [ ! -d "$runs/$run" ] || : >"$runs/$run/cancelled"; done
[% if scheduler == "slurm" %]
scancel [= job_ids | words =]
[% else %]
condor_rm [= job_ids | words =] >&2
[% endif %]
}
main </dev/null
