# --- login/slurm/nodes.sh: print the processors of the compute nodes. "node PARTITION PROCESSOR" is printed once for each pair,
# "partition PARTITION" for each partition, and "default PARTITION" for the partition of jobs that name none. A node that slurmd has not
# registered yet has no Arch (scontrol(1), show node). Free text (Comment, Extra, Reason) comes after these fields, so their first values count.
list_nodes() {
  timeout 60 scontrol --all --oneliner show nodes | awk '{
    processor = partitions = ""
    for (i = 1; i <= NF; i++) {
      if (processor == "" && index($i, "Arch=") == 1) processor = substr($i, 6)
      if (partitions == "" && index($i, "Partitions=") == 1) partitions = substr($i, 12)
    }
    count = processor == "" ? 0 : split(partitions, names, ",")
    for (i = 1; i <= count; i++) if (!seen[names[i], processor]++) print "node", names[i], processor
  }'
  failed=${PIPESTATUS[0]}
  return "$failed"
}
list_partitions() {
  timeout 60 scontrol --all --oneliner show partitions | awk '{
    name = ""
    for (i = 1; i <= NF && name == ""; i++) if (index($i, "PartitionName=") == 1) name = substr($i, 15)
    if (name != "") print "partition", name
    if (name != "" && / Default=YES( |$)/) print "default", name
  }'
}
section login uname -m
section nodes list_nodes
[ "$failed" -ne 0 ] || section defaults list_partitions # a controller that does not answer is not queried twice
