#!/bin/bash
# Builds the image [= name =] of the inputs [= inputs =]. Written by hpcdeploy [= version =].
#
# Run it on a login node:  bash build.sh
# It needs bash, coreutils, tar, flock (util-linux) and Apptainer, and nothing of hpcdeploy. Run it as often as you like: the
# same inputs are built once. It needs the files of the build as one archive; where that is missing, it says where to put it.
#
# Exit status: 0 built, now or earlier, or the archive is missing; 10 this machine is not as it should be; 12 the build failed.
[% set setup_must_succeed = true %]
[% set setup_exit = "exit 10" %]
[% include "login_templates/begin.sh" %]
main() {
[% for variable in variables %]
unset [= variable =]
[% endfor %]
[% include "login_templates/setup.sh" %]
set -euo pipefail
umask 077

say() { printf '%s\n' "$*" >&2 || true; }
# A login shell runs ~/.bash_logout in its exit: under -e a command that fails there, as Debian's does without a terminal, would
# end it with that command's status instead of ours.
die() { local code=$1; shift; say "error: $*"; set +e; exit "$code"; }
[% if secrets %]

[% include "login_templates/secrets.sh" %]
[% endif %]

inputs=[= inputs | word =]
name=[= name_json | word =]
root=[= root =]
[% include "login_templates/folders.sh" %]

[% include "login_templates/trust.sh" %]

[% include "login_templates/make_temporary.sh" %]

[% include "login_templates/image_mode.sh" %]

folder=$root/builds/$inputs
for program in flock tar sha256sum [= apptainer | word =]; do
  command -v "$program" >/dev/null ||
    die 10 "$program is not on this machine's PATH; add what brings it (module load ...) to the cluster's setup"
done
mkdir -p -- "$cache" "$root/cache" "$folder" ||
  die 10 "cannot make $folder and $cache; set root and image-cache in the cluster's settings to folders that you may write to"
keep_private "$root/builds" "$root/cache" "$folder"

json() {
  local text=$1
  text=${text//\\/\\\\}
  text=${text//\"/\\\"}
  text=${text//$'\t'/\\t}
  printf '"%s"' "$text"
}

# The one line that hpcdeploy reads; login shells may print what they like around it.
answer() { printf '\nHPCDEPLOY {%s}\n' "$1" || true; }

image_is_there() {
  local sha256
  [ -s "$folder/sha256" ] || return
  sha256=$(<"$folder/sha256")
  [ -e "$cache/$sha256.sif" ] && [ -s "$cache/$sha256.json" ] && trusted "$(stat -Lc %u -- "$cache/$sha256.json")" || return
  check_image "$cache/$sha256.sif" "$sha256" "$root" || die 10 "$image_fault"
}
answer_image() {
  local sha256
  sha256=$(<"$folder/sha256")
  answer "\"state\": \"built\", \"reused\": $1, \"path\": $(json "$cache/$sha256.sif"), \"image\": $(<"$cache/$sha256.json")"
}

exec {build_lock}>"$folder/lock"
flock --nonblock "$build_lock" || { say "another build of the same inputs runs; waiting for it"; flock "$build_lock"; }

# What an earlier build left that was killed. A site's own APPTAINER_TMPDIR, set in its setup, wins.
[% set prefix = 'SINGULARITY' if singularity else 'APPTAINER' %]
within=${[= prefix =]_TMPDIR:-$tmp}
temporary=""
part=""
clean() {
  [ -z "$temporary" ] || { chmod -R u+rwX -- "$temporary" 2>/dev/null || true; rm -rf -- "$temporary"; }
  rm -rf -- "$folder/context" "$folder/temporary" ${part:+"$part"}
}
# Each build has a folder whose name nobody can foresee, and notes it here.
if [ -s "$folder/temporary" ]; then
  temporary=$(<"$folder/temporary")
  case $temporary in /*/build-"${inputs:0:16}"-????????) is_private "$temporary" || temporary="" ;; *) temporary="" ;; esac
fi
clean
for part in "$cache/.$inputs".*part; do [ ! -O "$part" ] || rm -f -- "$part"; done
temporary=""
part=""

[% if force %]
rm -f -- "$folder/sha256"
[% endif %]
if image_is_there; then
  say "these inputs were built before"
  answer_image true
  return
fi

# Apptainer writes this path into a shell script without quotes (cmd/internal/cli/inspect.go), and into its own --bind.
case $within in
  *["()'\",;&|\`\$<>:^"]* | *[[:blank:]]"#"*) die 10 "Apptainer cannot build in $within (\"could not inspect container\"): set \
tmp in the cluster's settings, or [= prefix =]_TMPDIR in its setup, to a folder without any of ( ) ' \" , ; & | \` \$ < > : ^ and ' #'" ;;
esac
version=$([= apptainer | word =] --version)
if [ ! -e "$folder/context.tar" ] || [ "$(sha256sum <"$folder/context.tar")" != "[= context_sha256 =]  -" ]; then
  answer "\"state\": \"context\", \"put\": $(json "$folder/context.tar"), \"apptainer\": $(json "$version")"
  return
fi

trap clean EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir -p -- "$within" "$folder/context"
make_temporary "$within" "build-${inputs:0:16}"
printf '%s\n' "$temporary" >"$folder/temporary"
part=$(mktemp -u -- "$cache/.$inputs.XXXXXXXXXX.part")
[% if plain_http %]
# A registry on loopback speaks no TLS; nothing else is ever asked without.
export [= prefix =]_NOHTTPS=1
[% endif %]
export [= prefix =]_TMPDIR=$temporary [= prefix =]_CACHEDIR=${[= prefix =]_CACHEDIR:-$root/cache} TMPDIR=$temporary
unset [= prefix =]_BIND [= prefix =]_BINDPATH
[% if secrets %]
pipes=$temporary/secrets
make_secrets_folder "$pipes" || die 10 "cannot make named pipes in $pipes; set APPTAINER_TMPDIR in the cluster's setup"
served="$(declare -f serve_secrets keep_gate open_gate close_gate feed); serve_secrets \"\$1\""
exec {serving}> >(exec {given}<&-; unset BASH_ENV; exec setsid bash -c "$served" serve_secrets "$pipes")
server=$!
stop_serving() { exec {serving}>&-; wait "$server" 2>/dev/null || true; }
trap 'stop_serving; clean' EXIT
{ cat <&"$given"; echo; } >&"$serving"
exec {given}<&-
# Apptainer takes a colon and a comma for its own, but for a backslash before them.
bind=${pipes//:/\\:}
bind=${bind//,/\\,}:/run/secrets
[% endif %]

# Folders that a build makes take the umask into the image.
code=0
(
  umask 022 && cd -- "$folder/context" && tar -xf ../context.tar &&
    [= apptainer | word =] build[% for argument in build_args %] --build-arg [= argument | word =][% endfor %][% if secrets %] --bind "$bind"[% endif %] "$part" image.def
) >&2 </dev/null[% if secrets %] {serving}>&-[% endif %] || code=$?
[% if secrets %]
stop_serving
[% endif %]
[ "$code" = 0 ] || die 12 "the build failed (exit status $code); Apptainer's own words are above"

# Where the image's environment script ends with 0 before a program begins, %test passes without having run, and so would every job. An image
# that cannot be started here, or whose environment fails, is no such image: there the job says so.
start=([= apptainer | word =] exec --no-eval --pwd / "$part" /bin/sh -c "echo HPCDEPLOY_BEGUN")
if said=$("${start[@]}" 2>/dev/null </dev/null) && [[ $said != *HPCDEPLOY_BEGUN* ]]; then
  die 12 [= no_program_begins | word =]
fi

sha256=$(sha256sum <"$part")
sha256=${sha256%% *}
size=$(stat -c %s -- "$part")
record=$(printf '{"name": %s, "sha256": "%s", "size": %s, "inputs": "%s", "apptainer": %s, "created": "%s"}' \
  "$name" "$sha256" "$size" "$inputs" "$(json "$version")" "$(date -u +%Y-%m-%dT%H:%M:%SZ)")
write() { printf '%s\n' "$1" >"$2.part" && mv -f -- "$2.part" "$2"; }
chmod "$(image_mode "$cache")" -- "$part"
mv -f -- "$part" "$cache/$sha256.sif"
write "$record" "$cache/$sha256.json"
write "$sha256" "$folder/sha256"
rm -f -- "$folder/context.tar"
answer_image false
}
# Read to its end before the first command runs: a script that was cut on its way does nothing.
[% if secrets %]
# The secrets [= secrets | join(', ') =] follow on standard input, a line NAME BASE64 each; what main leaves there is no command.
main {given}<&0 </dev/null; exec </dev/null
[% else %]
main </dev/null
[% endif %]
