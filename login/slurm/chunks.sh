# --- login/slurm/chunks.sh: cut a large run into several arrays.

# Set chunks, and chunk_size, the number of tasks of each (0: one array). MaxArraySize is one more than the highest number that a task
# may have, and max_array_tasks may allow fewer tasks (slurm.conf(5)). The size is recorded before the first chunk is submitted, so that
# each later call cuts the run in the same places.
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
