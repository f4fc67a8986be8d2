# Serves a build's secrets: a value is in this shell's memory and, while a step reads it, in a pipe; it is in no file, no
# argument and no environment. The folder of pipes is bound into the build as /run/secrets:
#   .ask      what a step sources, with the names that it asks for as "$@"
#   .wanted   takes these names; the step's shell holds it open, so that its end is known, however it ends
#   .answer   says that the pipes are there, or why they are not
#   NAME      only between the two: each who opens it gets the whole value, and the next one a new pipe

make_secrets_folder() {
  mkdir -m 700 -- "$1" && mkfifo -m 600 -- "$1/.wanted" "$1/.answer" && cat >"$1/.ask" <<'END'
exec 9>/run/secrets/.wanted
echo "$@" >&9
read -r hpcdeploy_said </run/secrets/.answer || true
if [ "$hpcdeploy_said" != given ]; then
  echo "error: ${hpcdeploy_said:-the secrets of this build are not served any more}" >&2
  exit 1
fi
unset hpcdeploy_said
set --
END
}

# Takes lines NAME BASE64 from standard input up to an empty one; serves until standard input ends, however that comes about.
# The shell that calls it leads a process group of its own: only by that does everything end that waits at a pipe which nobody
# will open any more, since somebody removed the folder.
serve_secrets() {
  local folder=$1 name value gate pipe held
  local -A values=()
  while read -r name value && [ -n "$name" ]; do
    values[$name]=$value
  done
  keep_gate &
  gate=$!
  trap '' HUP INT TERM
  cat >/dev/null || true
  kill -TERM -- "-$BASHPID" 2>/dev/null || true
  wait "$gate" 2>/dev/null || true
  # Opened both ways, a pipe keeps nobody waiting: a step that is at one of them goes on, without a value, to its end.
  for pipe in "$folder"/* "$folder"/.[a-zA-Z_]*; do
    [ ! -p "$pipe" ] || exec {held}<>"$pipe" || true
  done
  rm -rf -- "$folder"
}

keep_gate() {
  local feeders=() names=() said
  # A reader that stays: a step that asks while no other is there must not be told that nobody listens.
  exec 5<>"$folder/.wanted" 6<"$folder/.wanted" 5>&-
  # Nor may one meet the end of the answer before: this pipe stays open, and an answer lies in it until it is read.
  exec 8<>"$folder/.answer"
  while [ -p "$folder/.wanted" ]; do
    exec 7<"$folder/.wanted"
    while read -r -a wanted <&7; do
      close_gate
      open_gate
    done
    close_gate
    exec 7<&-
  done
}

open_gate() {
  said=given
  for name in ${wanted[@]+"${wanted[@]}"}; do
    case $name in *[!A-Za-z0-9_]*) said="$name is no name of a secret" ;; esac
    [ "$said" = given ] && [ -z "${values[$name]+known}" ] && said="this build was given no secret $name"
  done
  if [ "$said" = given ]; then
    for name in ${wanted[@]+"${wanted[@]}"}; do
      mkfifo -m 600 -- "$folder/$name" && names+=("$name")
      feed "$name" &
      feeders+=("$!")
    done
  fi
  echo "$said" >&8
}

close_gate() {
  local feeder
  while read -t 0 -u 8 && read -r -u 8; do :; done  # an answer that nobody took: who asked was killed
  for feeder in ${feeders[@]+"${feeders[@]}"}; do
    kill "$feeder" 2>/dev/null || true
    wait "$feeder" 2>/dev/null || true
  done
  for name in ${names[@]+"${names[@]}"}; do
    [ ! -p "$folder/$name" ] || : <>"$folder/$name" || true  # lets go of a reader that came too late
    rm -f -- "$folder/$name" "$folder/.$name"
  done
  feeders=() names=()
}

# Opening a pipe waits for a reader. The next one gets a pipe of its own: through the same one it might get this value's end.
feed() {
  while [ -p "$folder/$1" ]; do
    {
      mkfifo -m 600 -- "$folder/.$1" && mv -f -- "$folder/.$1" "$folder/$1"
      printf '%s' "${values[$1]}" | base64 -d
    } >"$folder/$1" 2>/dev/null || true
  done
}
