# --- login/secrets.sh: serve the secrets of a build. A value is in this shell's memory and, while a step reads it, in a pipe; it is never in
# a file, an argument or an environment variable. The folder of pipes is bound into the build as /run/secrets:
#   .ask      a script that a step sources, with the names of the secrets that the step needs as "$@"
#   .wanted   a pipe that receives these names; the step's shell keeps it open, so that the server notices the end of the step in any case
#   .answer   a pipe that tells the step that the pipes of the secrets exist, or why they do not exist
#   NAME      a pipe with the value of a secret, which exists only during the step; each process that opens it gets the whole value, because
#             the pipe is replaced by a new one each time

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

# Read lines NAME BASE64 from standard input up to an empty line, and serve these secrets until standard input ends. The shell that calls this
# must lead a process group of its own. The group is killed at the end, because a process that waits at a pipe of a removed folder cannot be
# ended in another way.
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
  # Open all pipes for reading and writing. Then a step that waits at a pipe is not blocked any more, and continues without a value.
  for pipe in "$folder"/* "$folder"/.[a-zA-Z_]*; do
    [ ! -p "$pipe" ] || exec {held}<>"$pipe" || true
  done
  rm -rf -- "$folder"
}

# shellcheck disable=SC2094
keep_gate() {
  local feeders=() names=() answer
  # Keep a reader open: otherwise a step that writes names while no reader has the pipe open would fail ("broken pipe").
  exec 5<>"$folder/.wanted" 6<"$folder/.wanted" 5>&-
  # Keep the pipe of the answers open, so that an answer remains in it until a step reads it.
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
  while read -t 0 -u 8 && read -r -u 8; do :; done  # remove an answer that was not read because the step was killed
  for feeder in ${feeders[@]+"${feeders[@]}"}; do
    kill "$feeder" 2>/dev/null || true
    wait "$feeder" 2>/dev/null || true
  done
  for name in ${names[@]+"${names[@]}"}; do
    [ ! -p "$folder/$name" ] || : <>"$folder/$name" || true  # unblocks a process that opened the pipe too late
    rm -f -- "$folder/$name" "$folder/.$name"
  done
  feeders=() names=()
}

# Write the value of the secret $1 to each reader. Opening a pipe waits for a reader. Each reader gets a new pipe, because from the same pipe a
# second reader might get the end of the first reader's value.
# shellcheck disable=SC2094
feed() {
  while [ -p "$folder/$1" ]; do
    {
      mkfifo -m 600 -- "$folder/.$1" && mv -f -- "$folder/.$1" "$folder/$1"
      printf '%s' "${values[$1]}" | base64 -d
    } >"$folder/$1" 2>/dev/null || true
  done
}
