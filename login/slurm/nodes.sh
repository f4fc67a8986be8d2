# --- login/slurm/nodes.sh: print the processors of the compute nodes. "node PARTITION PROCESSOR" is printed once for each pair, and
# "default PARTITION" for the partition of jobs that name none. A node that slurmd has not registered yet has no Arch (scontrol(1), show node).
list_nodes() {
  timeout 60 scontrol --all --oneliner show nodes | awk '{
    processor = partitions = ""
    for (i = 1; i <= NF; i++) {
      if (index($i, "Arch=") == 1) processor = substr($i, 6)
      if (index($i, "Partitions=") == 1) partitions = substr($i, 12)
    }
    count = processor == "" ? 0 : split(partitions, names, ",")
    for (i = 1; i <= count; i++) if (!seen[names[i], processor]++) print "node", names[i], processor
  }'
  return "${PIPESTATUS[0]}"
}
list_defaults() {
  timeout 60 scontrol --all --oneliner show partitions |
    awk '/ Default=YES( |$)/ { for (i = 1; i <= NF; i++) if (index($i, "PartitionName=") == 1) print "default", substr($i, 15) }'
}
section login uname -m
section nodes list_nodes
section defaults list_defaults
