# --- login/slurm/chunks.sh: split a large run into several arrays (chunks).

# Set chunk_size to the number of tasks of each chunk (0: the run is one array), and add the later chunks to chunks. The maximum is
# MaxArraySize, which is one more than the highest task number, or max_array_tasks if that is smaller (slurm.conf(5)). The size is recorded
# before the first chunk is submitted, so that each later call splits the run in the same way.
choose_chunks() {
  local config first
  if [ -s "$run/part-size" ]; then
    read -r chunk_size <"$run/part-size"
  else
    config=$(scontrol show config) || say "Slurm did not report how many tasks an array may have; trying one array"
    chunk_size=$(sed -nE 's/^MaxArraySize *= *([0-9]+).*/\1/p; s/^SchedulerParameters.*max_array_tasks=([0-9]+).*/\1/p' <<<"$config" |
      sort -n | head -n 1)
    [ "${chunk_size:=0}" -lt "$tasks" ] || chunk_size=0
    printf '%s\n' "$chunk_size" | write "$run/part-size" ||
      die 10 "cannot write to $run; make room there (a full disk, or your quota). Nothing was submitted"
    sync -- "$run/part-size" 2>/dev/null || true
  fi
  [ "$chunk_size" = 0 ] || for ((first = chunk_size; first < tasks; first += chunk_size)); do chunks+=(".$first"); done
}
