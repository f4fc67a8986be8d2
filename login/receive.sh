# --- login/receive.sh: receive a file. The answer is the number of bytes that are here already; the rest must follow. A cut connection
# keeps what came, and the next call continues there. The file gets its name when it is complete and its sha256 is right.
flock --nonblock "$lock" || { say "another upload of $what is in progress; waiting for it"; flock "$lock"; }
remove_chunks() { rm -f -- "$folder/.$sha256".[0-9]*.parcel "$folder/.$sha256".[0-9]*.lock; }
if [ "$(stat -Lc %s -- "$file" 2>/dev/null)" = "$size" ]; then
  remove_chunks
  answer "$size"
  return
fi
[ "$(received)" -le "$size" ] || rm -f -- "$part"
# openssl always uses the processor's SHA instructions, sha256sum does not everywhere: a third of its time. Its default buffer is 8 KiB:
# then it and the process that writes to it wait for each other most of the time.
digest() { if command -v openssl >/dev/null; then stdbuf -i 64K openssl dgst -sha256 -r; else sha256sum; fi; }

# The chunks of a parallel upload (lane.sh) are joined as far as they are contiguous. If an earlier call was killed while it joined them,
# or the upload was resumed as a single stream, the beginning of a chunk may be there already.
list_chunks() {
  local piece
  for piece in "$folder/.$sha256".[0-9]*.parcel; do
    piece=${piece%.parcel}
    [ ! -e "$piece.parcel" ] || echo "${piece##*.}"
  done
}
join_chunks() {
  local start piece here chunk_lock
  while read -r start; do
    [ "$start" -le "$(received)" ] || break
    piece=$folder/.$sha256.$start
    open_lock "$piece.lock" || die 10 "cannot open $piece.lock"
    chunk_lock=$opened
    flock "$chunk_lock"
    here=$(($(received) - start))
    # cat(1) may leave the copying to the file system.
    if [ "$here" = 0 ]; then cat -- "$piece.parcel"; else tail -c "+$((here + 1))" -- "$piece.parcel"; fi >>"$part" ||
      die 10 "$what does not fit into $folder: make room there (a full disk, or your quota), and submit again"
    rm -f -- "$piece.parcel"
    exec {chunk_lock}>&-
  done < <(list_chunks | sort -n)
}

to_disk() { sync -- "$part" 2>/dev/null || true; }

# Print what is here and what arrives, for its sha256. It is read from the file, shortly after it was written: tee(1) does both, in pieces
# of 8 KiB, and took twice as long as the network. Meanwhile the file is synced to the disk, which would take as long as hashing at the
# end. Fail if the file cannot be written.
receive() {
  local writer watcher end='' digits='' piece now read=0 status disk=''
  # The writer's process id, and when it has ended, its exit status.
  exec {status}< <(exec {lock}>&-; cat >>"$part" <&"$input" {input}<&- & echo "$!"; wait "$!" && echo 0 || echo "$?")
  read -r -u "$status" writer
  exec {input}<&-
  end_after_silence "$writer" >/dev/null 2>&1 {lock}>&- {status}<&- &
  watcher=$!
  while [ -z "$end" ]; do
    # After a timeout `read` has stored a part of the line: the 1 of 143 is no exit status.
    if read -r -t 0.1 -u "$status" piece; then end=$digits$piece; elif [ "$?" -gt 128 ]; then digits+=$piece; else end=unknown; fi
    now=$(received)
    kill -0 "$disk" 2>/dev/null || { to_disk >/dev/null & disk=$!; }
    [ "$now" = "$read" ] || dd if="$part" bs=64K iflag=skip_bytes,count_bytes skip="$read" count="$((now - read))" status=none
    read=$now
  done
  kill "$watcher" 2>/dev/null || true
  wait "$disk" || true
  [ "$end" != 1 ]
}

exec {input}<&0 </dev/null
join_chunks
answer "$(received)"
written=yes
found=$(receive | digest) || written=no
found=${found%% *}
exec {input}<&-
count=$(received)
[ "$written" = yes ] || [ "$count" = "$size" ] ||
  die 10 "$what does not fit into $folder: make room there (a full disk, or your quota), and submit again; $count of $size bytes are there"
[ "$count" = "$size" ] || die 15 "received $count of $size bytes of $what"
if [ "$found" != "$sha256" ]; then
  rm -f -- "$part"
  remove_chunks
  die 11 "$what arrived damaged: its sha256 is $found, expected $sha256"
fi
to_disk
chmod "$(image_mode "$folder")" -- "$part"
mv -f -- "$part" "$file"
remove_chunks
