# --- login/htcondor/nodes.sh: print the processors of the pool's slots, each once. HTCondor has no partitions: their name is a hyphen.
list_slots() {
  timeout 60 condor_status -autoformat Arch | awk '$1 != "undefined" && !seen[$1]++ { print "node", "-", $1 }'
  return "${PIPESTATUS[0]}"
}
section login uname -m
section nodes list_slots
