# --- login/lane.sh: receive a chunk of a file that is uploaded in parallel. The answer is the number of bytes that are here already; the
# rest must follow. receive.sh joins the chunks.
if [ "$waits" = yes ]; then
  flock --nonblock "$lock" || { say "another upload of $what is in progress; waiting for it"; flock "$lock"; }
else
  flock --nonblock "$lock" || exit 15
fi
[ "$(stat -Lc %s -- "$file" 2>/dev/null)" != "$file_size" ] || exit 15
answer "$(received)"
exec {input}<&0 </dev/null
cat >>"$part" <&"$input" {input}<&- {lock}>&- &
writer=$!
exec {input}<&-
end_after_silence "$writer" >/dev/null 2>&1 {lock}>&- &
watcher=$!
wait "$writer" || true
kill "$watcher" 2>/dev/null || true
[ "$(received)" -ge "$size" ] || die 15 "received $(received) of $size bytes of a chunk of $what"
