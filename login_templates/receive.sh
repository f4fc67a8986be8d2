#!/bin/bash
# Receives one file, whose bytes follow this script on standard input. Written by hpcdeploy [= version =].
#
# It answers with the bytes that it has already; the rest is to follow. What comes is kept when the connection dies, and the next
# call goes on from there. The file takes its name once it is whole and its sha256 is right.
#
# Exit status: 0 it is there; 10 this machine is not as it should be; 11 what came is not what was promised, and is gone;
#              15 not all of it came: go on.
[% set setup_must_succeed = false %]
[% set setup_exit = "exit 10" %]
[% include "login_templates/begin.sh" %]
main() {
[% include "login_templates/arriving.sh" %]

flock --nonblock "$lock" || { say "$what is on its way already; waiting for it"; flock "$lock"; }
forget_lanes() { rm -f -- "$folder/.$sha256".[0-9]*.parcel "$folder/.$sha256".[0-9]*.lock; }
if [ "$(stat -Lc %s -- "$file" 2>/dev/null)" = "$size" ]; then
  forget_lanes
  answer "$size"
  return
fi
[ "$(arrived)" -le "$size" ] || rm -f -- "$part"
# openssl uses the processor's own SHA instructions, and sha256sum not everywhere: a third of its time. By itself it reads 8 KiB at
# once: it and who writes to it then wait for each other most of the time.
digest() { if command -v openssl >/dev/null; then stdbuf -i 64K openssl dgst -sha256 -r; else sha256sum; fi; }

[% include "login_templates/image_mode.sh" %]

# What has come in several lanes (lane.sh) is put one behind the other, as far as it hangs together. Of one that was killed over this,
# or went on in one, a stretch may be there in part already.
stretches() {
  local piece
  for piece in "$folder/.$sha256".[0-9]*.parcel; do
    piece=${piece%.parcel}
    [ ! -e "$piece.parcel" ] || echo "${piece##*.}"
  done
}
join_lanes() {
  local start piece here lane_lock
  while read -r start; do
    [ "$start" -le "$(arrived)" ] || break
    piece=$folder/.$sha256.$start
    open_lock "$piece.lock" || die 10 "cannot open $piece.lock"
    lane_lock=$opened
    flock "$lane_lock"
    here=$(($(arrived) - start))
    # cat(1) may leave the copying to the file system.
    if [ "$here" = 0 ]; then cat -- "$piece.parcel"; else tail -c "+$((here + 1))" -- "$piece.parcel"; fi >>"$part" ||
      die 10 "$what does not fit into $folder: make room there (a full disk, or your quota), and submit again"
    rm -f -- "$piece.parcel"
    exec {lane_lock}>&-
  done < <(stretches | sort -n)
}

to_disk() { sync -- "$part" 2>/dev/null || true; }

# Prints what has come, and what comes, for its sha256. It is read from the file, a little behind the writer: tee(1) does both, in
# pieces of 8 KiB, and took twice as long as the network did. Meanwhile it goes to the disk, which else took as long again as
# hashing, at the end. Fails where it cannot be written.
receive() {
  local writer watch end='' word='' piece now read=0 words disk=''
  # Its number, and when it has ended, its exit status.
  exec {words}< <(exec {lock}>&-; cat >>"$part" <&"$input" {input}<&- & echo "$!"; wait "$!" && echo 0 || echo "$?")
  read -r -u "$words" writer
  exec {input}<&-
  give_up_on_silence "$writer" >/dev/null 2>&1 {lock}>&- {words}<&- &
  watch=$!
  while [ -z "$end" ]; do
    # When the time is over, `read` has kept what came of a line: the 1 of 143 is no exit status of its own.
    if read -r -t 0.1 -u "$words" piece; then end=$word$piece; elif [ "$?" -gt 128 ]; then word+=$piece; else end=unknown; fi
    now=$(arrived)
    kill -0 "$disk" 2>/dev/null || { to_disk >/dev/null & disk=$!; }
    [ "$now" = "$read" ] || dd if="$part" bs=64K iflag=skip_bytes,count_bytes skip="$read" count="$((now - read))" status=none
    read=$now
  done
  kill "$watch" 2>/dev/null || true
  wait "$disk" || true
  [ "$end" != 1 ]
}

exec {input}<&0 </dev/null
join_lanes
answer "$(arrived)"
written=yes
found=$(receive | digest) || written=no
found=${found%% *}
exec {input}<&-
got=$(arrived)
[ "$written" = yes ] || [ "$got" = "$size" ] ||
  die 10 "$what does not fit into $folder: make room there (a full disk, or your quota), and submit again; $got of $size bytes are there"
[ "$got" = "$size" ] || die 15 "$got of $size bytes of $what have come"
if [ "$found" != "$sha256" ]; then
  rm -f -- "$part"
  forget_lanes
  die 11 "$what came out wrong: its sha256 is $found, expected $sha256"
fi
to_disk
chmod "$(image_mode "$folder")" -- "$part"
mv -f -- "$part" "$file"
forget_lanes
}
# Read to its end before the first command runs. What follows is no script, and never becomes one.
main; exec </dev/null
