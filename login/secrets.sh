# --- login/secrets.sh: serve the secrets of a build. A value is in this shell's memory and, while a step reads it, in a pipe; it is never in
# a file, an argument or an environment variable. The folder of pipes is bound into the build as /run/secrets:
#   .ask      a step sources it, with the names of the secrets that it needs as "$@"
#   .wanted   receives these names; the step's shell keeps it open, so that its end is known, however it ends
#   .answer   says that the pipes exist, or why they do not
#   NAME      exists only in between: each process that opens it gets the whole value, and the next one a new pipe

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

# Read lines NAME BASE64 from standard input up to an empty one; serve until standard input ends, for whatever reason. The shell that calls
# this leads its own process group: killing the group is the only way to end a process that waits at a pipe of a removed folder.
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
  # A pipe that is open for reading and writing blocks no process: a step that waits at one continues without a value.
  for pipe in "$folder"/* "$folder"/.[a-zA-Z_]*; do
    [ ! -p "$pipe" ] || exec {held}<>"$pipe" || true
  done
  rm -rf -- "$folder"
}

# shellcheck disable=SC2094
keep_gate() {
  local feeders=() names=() answer
  # Keep a reader open: otherwise a step that asks at the wrong moment would get "broken pipe".
  exec 5<>"$folder/.wanted" 6<"$folder/.wanted" 5>&-
  # Keep the pipe of the answers open: an answer stays in it until it is read.
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
  answer=given
  for name in ${wanted[@]+"${wanted[@]}"}; do
    case $name in *[!A-Za-z0-9_]*) answer="$name is no name of a secret" ;; esac
    [ "$answer" = given ] && [ -z "${values[$name]+known}" ] && answer="this build was given no secret $name"
  done
  if [ "$answer" = given ]; then
    for name in ${wanted[@]+"${wanted[@]}"}; do
      mkfifo -m 600 -- "$folder/$name" && names+=("$name")
      feed "$name" &
      feeders+=("$!")
    done
  fi
  echo "$answer" >&8
}

close_gate() {
  local feeder
  while read -t 0 -u 8 && read -r -u 8; do :; done  # an answer that no step read, because it was killed
  for feeder in ${feeders[@]+"${feeders[@]}"}; do
    kill "$feeder" 2>/dev/null || true
    wait "$feeder" 2>/dev/null || true
  done
  for name in ${names[@]+"${names[@]}"}; do
    [ ! -p "$folder/$name" ] || : <>"$folder/$name" || true  # releases a reader that came too late
    rm -f -- "$folder/$name" "$folder/.$name"
  done
  feeders=() names=()
}

# Opening a pipe waits for a reader. The next reader gets a new pipe: in the same one it might get the end of this value.
# shellcheck disable=SC2094
feed() {
  while [ -p "$folder/$1" ]; do
    {
      mkfifo -m 600 -- "$folder/.$1" && mv -f -- "$folder/.$1" "$folder/$1"
      printf '%s' "${values[$1]}" | base64 -d
    } >"$folder/$1" 2>/dev/null || true
  done
}
