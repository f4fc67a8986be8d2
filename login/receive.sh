# --- login/receive.sh: receive a file. The answer is the number of bytes that are here already; the rest must follow. A cut connection
# keeps what came, and the next call continues there. The file gets its name when it is complete and its sha256 is right.
answer() { printf '\nHPCDEPLOY {"have": %s}\n' "$1" || true; }
flock --nonblock "$lock" || { say "another upload of $what is in progress; waiting for it"; flock "$lock"; }
received() { stat -c %s -- "$part" 2>/dev/null || echo 0; }
# Chunks and their locks are from a parallel upload of an earlier version. The ranges must not outlive the records.
remove_leftovers() { rm -f -- "$ranges" "$records" "$folder/.$sha256".[0-9]*.parcel "$folder/.$sha256".[0-9]*.lock; }
if [ "$(stat -Lc %s -- "$file" 2>/dev/null)" = "$size" ]; then
  remove_leftovers
  answer "$size"
  return
fi

# Continue a parallel upload (receive.py) after the bytes before its first gap, mostly all of them. The lock waits for the last process
# that writes records; one that opens the file later finds that it is gone.
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

# openssl always uses the processor's SHA instructions, sha256sum does not everywhere: a third of its time. Its default buffer is 8 KiB:
# then it and the process that writes to it wait for each other most of the time.
digest() { if command -v openssl >/dev/null; then stdbuf -i 64K openssl dgst -sha256 -r; else sha256sum; fi; }
to_disk() { sync -- "$part" 2>/dev/null || true; }

# While process $1 writes the file, sync it to the disk, which would take as long as hashing at the end. A client that disappears, such
# as a closed laptop, leaves its connection open and sends nothing: end the process after $silence_timeout seconds without data, so
# that the next upload does not wait for the lock forever.
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

# Print what is here and what process $1 writes, for its sha256. It is read from the file, shortly after it was written: tee(1) does
# both, in pieces of 8 KiB, and took twice as long as the network.
follow() {
  local read=0 now goes_on=yes
  while [ "$goes_on" = yes ]; do
    kill -0 "$1" 2>/dev/null || goes_on=no # before the size is read, so that the last round sees all
    now=$(received)
    [ "$now" = "$read" ] || dd if="$part" bs=64K iflag=skip_bytes,count_bytes skip="$read" count="$((now - read))" status=none
    read=$now
    [ "$goes_on" = no ] || sleep 0.1
  done
}

take_records
[ "$(received)" -le "$size" ] || rm -f -- "$part"
answer "$(received)"
# The writer inherits the lock: no other call may append while it lives.
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
