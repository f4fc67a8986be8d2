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
read -r hpcdeploy_said </run/secrets/.answer
if [ "$hpcdeploy_said" != given ]; then
  echo "error: $hpcdeploy_said" >&2
  exit 1
fi
unset hpcdeploy_said
set --
END
}

# Takes lines NAME BASE64 from standard input up to an empty one; serves until standard input ends, however that comes about.
serve_secrets() {
  local folder=$1 name value gate
  local -A values=()
  while read -r name value && [ -n "$name" ]; do
    values[$name]=$value
  done
  keep_gate &
  gate=$!
  trap '' HUP INT TERM
  cat >/dev/null || true
  # Opened both ways, a pipe keeps nobody waiting; a dot is no name.
  { echo . >&3; wait "$gate"; } 3<>"$folder/.wanted" 4<>"$folder/.answer" 2>/dev/null || true
  rm -rf -- "$folder"
}

keep_gate() {
  local feeders=() names=() said
  # A reader that stays: a step that asks while no other is there must not be told that nobody listens.
  exec 5<>"$folder/.wanted" 6<"$folder/.wanted" 5>&-
  while :; do
    exec 7<"$folder/.wanted"
    while read -r -a wanted <&7; do
      close_gate
      [ "${wanted[*]-}" != . ] || return 0
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
  echo "$said" >"$folder/.answer"
}

close_gate() {
  local feeder
  for feeder in ${feeders[@]+"${feeders[@]}"}; do
    kill "$feeder" 2>/dev/null || true
    wait "$feeder" 2>/dev/null || true
  done
  for name in ${names[@]+"${names[@]}"}; do
    : <>"$folder/$name" || true  # lets go of a reader that came too late
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
