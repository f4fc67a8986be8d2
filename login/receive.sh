# --- login/receive.sh: receive a file. The answer is the number of bytes that are present already; the client then sends the rest. After a
# lost connection, the received bytes are kept, and the next call receives the rest. The file gets its final name when it is complete and its
# sha256 is correct.
answer() { printf '\nHPCDEPLOY {"have": %s}\n' "$1" || true; }
flock --nonblock "$lock" || { say "another upload of $what is in progress; waiting for it"; flock "$lock"; }
received() { stat -c %s -- "$part" 2>/dev/null || echo 0; }
# Remove the files of a parallel upload. Earlier versions had chunks and locks of chunks. The ranges are removed first, because they would be
# wrong without the records.
remove_leftovers() { rm -f -- "$ranges" "$records" "$folder/.$sha256".[0-9]*.parcel "$folder/.$sha256".[0-9]*.lock; }
if [ "$(stat -Lc %s -- "$file" 2>/dev/null)" = "$size" ]; then
  remove_leftovers
  answer "$size"
  return
fi

# Take over the file of a parallel upload (receive.py): keep the bytes before its first gap, which are usually all bytes. flock waits until no
# process writes records any more. A process that opens the file later notices that the file was renamed.
take_records() {
  local opened end
  [ -e "$records" ] || return 0
  exec {opened}<>"$records"
  flock "$opened"
  end=$(sort -n -- "$ranges" 2>/dev/null | awk '
    BEGIN { end = 0 }
    /^[0-9]+ [0-9]+ ;$/ && $1 <= end && $1 + $2 > end { end = $1 + $2 }
    END { printf "%.0f", end }') || true
  if [ "$end" != "$size" ]; then
    rm -f -- "$ranges"
    truncate -s "$end" -- "$records"
  fi
  mv -f -- "$records" "$part"
  rm -f -- "$ranges"
  exec {opened}>&-
}

# openssl is preferred, because it always uses the processor's SHA instructions. Where sha256sum does not, openssl needs a third of the time.
# The buffer is larger than openssl's 8 KiB, with which openssl and the process that writes to it mostly wait for each other.
digest() { if command -v openssl >/dev/null; then stdbuf -i 64K openssl dgst -sha256 -r; else sha256sum; fi; }
to_disk() { sync -- "$part" 2>/dev/null || true; }

# While process $1 writes the file, sync the file to the disk, because a sync at the end would take as long as computing the sha256. Kill the
# process after $silence_timeout seconds without data: a client that has disappeared, such as a closed laptop, leaves its connection open, and
# the next upload would wait for the lock forever.
watch() {
  local before=-1 now since=$SECONDS
  while kill -0 "$1"; do
    now=$(received)
    [ "$now" = "$before" ] || since=$SECONDS
    [ $((SECONDS - since)) -lt "$silence_timeout" ] || kill "$1"
    before=$now
    to_disk
    sleep 0.2
  done
}

# Print the bytes that are present and the bytes that process $1 writes, to compute their sha256. They are read from the file shortly after they
# were written. tee(1) is not used, because it copies in pieces of 8 KiB, which took twice as long as the network.
follow() {
  local read=0 now goes_on=yes
  while [ "$goes_on" = yes ]; do
    kill -0 "$1" 2>/dev/null || goes_on=no # tested before the size is read, so that the last round prints all bytes
    now=$(received)
    [ "$now" = "$read" ] || dd if="$part" bs=64K iflag=skip_bytes,count_bytes skip="$read" count="$((now - read))" status=none
    read=$now
    [ "$goes_on" = no ] || sleep 0.1
  done
}

take_records
[ "$(received)" -le "$size" ] || rm -f -- "$part"
answer "$(received)"
# The writer inherits the lock, so no other call can append to the file while the writer runs.
cat >>"$part" <&0 &
writer=$!
exec </dev/null
watch "$writer" >/dev/null 2>&1 {lock}>&- &
watcher=$!
found=$(follow "$writer" | digest)
found=${found%% *}
written=yes
wait "$writer" || [ "$?" != 1 ] || written=no
kill "$watcher" 2>/dev/null || true
count=$(received)
[ "$written" = yes ] || [ "$count" = "$size" ] ||
  die 10 "$what does not fit into $folder: make room there (a full disk, or your quota), and submit again; $count of $size bytes are there"
[ "$count" = "$size" ] || die 15 "received $count of $size bytes of $what"
if [ "$found" != "$sha256" ]; then
  rm -f -- "$part"
  remove_leftovers
  die 11 "$what arrived damaged: its sha256 is $found, expected $sha256"
fi
to_disk
chmod "$(image_mode "$folder")" -- "$part"
mv -f -- "$part" "$file"
remove_leftovers
