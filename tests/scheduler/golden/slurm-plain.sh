#!/bin/bash
# Submit run hello-0123456789 to slurm. Written by hpcdeploy 0.1.0.
#
# Run it on a login node:  bash submit.sh
# It needs bash, coreutils, flock (util-linux), Apptainer and the scheduler's own commands, and nothing of hpcdeploy.
# It may run any number of times: the run is submitted once, and every later call reports that. With the argument "again" it
# first queries the scheduler for the run's job, even if the run's folder, which may be lost, has no record of an earlier call.
# With the argument "bring" it does not ask you to copy missing files, because hpcdeploy uploads them.
#
# Exit status: 0 submitted, now or earlier. 10 login node not usable (missing command, unusable root). 11 no image.
# 12 rejected by the scheduler. 13 unknown whether the scheduler accepted the job: run this again.
# 14 files must be uploaded first (they are listed). 15 the run was cancelled.

# --- login/state.sh: start bash from one known state, whatever a profile has set (options, IFS, aliases, functions).
# In POSIX mode no function hides a special builtin (Bash Reference Manual, 6.11); a backslash prevents alias expansion.
case ${BASH_VERSION-} in
  "")
    echo "error: this script is for bash, but another shell reads it. If a login profile calls exec (exec zsh), let it do so in" \
      "interactive shells only: case \$- in *i*) exec zsh ;; esac" >&2
    exit 10
    ;;
esac
{ POSIXLY_CORRECT=1; \set +efnuvxC; \unset -f builtin unset set unalias shopt declare type trap eval exit return local test [ printf echo; \unset POSIXLY_CORRECT; } 2>/dev/null
\trap - DEBUG ERR
# The other functions that hide programs are removed after the setup, which may use them (known_state). A job calls these before.
\unset -f cat cd date hostname ln mv readlink rm sleep
\unalias -a
\shopt -u expand_aliases
IFS=$' \t\n'
known_state() {
  local name
  set +abefkmntuvxCEPT -hB +o pipefail +o posix
  shopt -u dotglob extglob failglob nocaseglob nocasematch nullglob globstar lastpipe xpg_echo extdebug execfail expand_aliases \
    inherit_errexit localvar_inherit localvar_unset cdable_vars cdspell autocd shift_verbose checkhash varredir_close 2>/dev/null
  IFS=$' \t\n'
  unset CDPATH GLOBIGNORE GREP_OPTIONS TAR_OPTIONS TMOUT 2>/dev/null
  trap - DEBUG ERR RETURN
  # Remove functions that hide a builtin or a program (cd, rm). Keep others: the job's setup may need them (module). Keep a
  # site's wrappers of the scheduler's and Apptainer's commands: they are how the site calls them.
  for name in $(declare -F); do
    case $name in
      declare | -* | known_state | set_paths | record | finish) continue ;;
      sbatch | squeue | sacct | scancel | scontrol | sinfo | srun | condor_* | apptainer | singularity) continue ;;
    esac
    if type -f "$name" >/dev/null 2>&1; then unset -f "$name"; fi
  done
  # Programs that are bash scripts (a site's sbatch) would inherit this script's options.
  export -n SHELLOPTS BASHOPTS
  return 0
}

# --- login/begin.sh: tell hpcdeploy that the script started. A profile may have printed a line without its line break.
printf '\nHPCDEPLOY begins\n' || true

main() {
# --- values of this script
run_id=hello-0123456789
scheduler=slurm
submit_command=sbatch
lock_timeout=''
sha256=abababababababababababababababababababababababababababababababab
image_from=cache
image_source=''
cache_limit=0
image_cache_owners=()
has_uploads=no
trees=()
after=()
is_array=no
log_name=0
dependency=''
mpi=''
job_functions=(owner_of trusted is_private others_can_change verified_in is_the_image replace_by_copy check_image)
set_paths() {
  root="${SCRATCH:?is not set on this machine, but the path needs it: set it, or name another path}"/hpcdeploy
  cache="${SCRATCH:?is not set on this machine, but the path needs it: set it, or name another path}"/hpcdeploy/images
  tmp="${SCRATCH:?is not set on this machine, but the path needs it: set it, or name another path}"/hpcdeploy/tmp
}
set_job_paths() {
  :
}
write_files() {
  write "$run/job.sh" <<'HPCDEPLOY_END_0123456789'
#!/bin/bash
#SBATCH --job-name=hello-0123456789
#SBATCH --comment=hpcdeploy:hello-0123456789
#SBATCH --nodes=1

# Run hello-0123456789, written by hpcdeploy 0.1.0. sbatch --chdir starts it in the run's folder.
# --- login/state.sh: start bash from one known state, whatever a profile has set (options, IFS, aliases, functions).
# In POSIX mode no function hides a special builtin (Bash Reference Manual, 6.11); a backslash prevents alias expansion.
case ${BASH_VERSION-} in
  "")
    echo "error: this script is for bash, but another shell reads it. If a login profile calls exec (exec zsh), let it do so in" \
      "interactive shells only: case \$- in *i*) exec zsh ;; esac" >&2
    exit 10
    ;;
esac
{ POSIXLY_CORRECT=1; \set +efnuvxC; \unset -f builtin unset set unalias shopt declare type trap eval exit return local test [ printf echo; \unset POSIXLY_CORRECT; } 2>/dev/null
\trap - DEBUG ERR
# The other functions that hide programs are removed after the setup, which may use them (known_state). A job calls these before.
\unset -f cat cd date hostname ln mv readlink rm sleep
\unalias -a
\shopt -u expand_aliases
IFS=$' \t\n'
known_state() {
  local name
  set +abefkmntuvxCEPT -hB +o pipefail +o posix
  shopt -u dotglob extglob failglob nocaseglob nocasematch nullglob globstar lastpipe xpg_echo extdebug execfail expand_aliases \
    inherit_errexit localvar_inherit localvar_unset cdable_vars cdspell autocd shift_verbose checkhash varredir_close 2>/dev/null
  IFS=$' \t\n'
  unset CDPATH GLOBIGNORE GREP_OPTIONS TAR_OPTIONS TMOUT 2>/dev/null
  trap - DEBUG ERR RETURN
  # Remove functions that hide a builtin or a program (cd, rm). Keep others: the job's setup may need them (module). Keep a
  # site's wrappers of the scheduler's and Apptainer's commands: they are how the site calls them.
  for name in $(declare -F); do
    case $name in
      declare | -* | known_state | set_paths | record | finish) continue ;;
      sbatch | squeue | sacct | scancel | scontrol | sinfo | srun | condor_* | apptainer | singularity) continue ;;
    esac
    if type -f "$name" >/dev/null 2>&1; then unset -f "$name"; fi
  done
  # Programs that are bash scripts (a site's sbatch) would inherit this script's options.
  export -n SHELLOPTS BASHOPTS
  return 0
}
set -u
run=$PWD
chunk=""
task=${SLURM_ARRAY_TASK_ID:-0}
job=${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}

# Write the file $1 of the run's tasks atomically.
record() { printf '%s\n' "$2" >"$run/tasks/.$1.$SLURM_JOB_ID" && mv -f "$run/tasks/.$1.$SLURM_JOB_ID" "$run/tasks/$1"; }

# A run that was cancelled before its job was known may still get a job, late.
if [ -e "$run/cancelled" ]; then
  echo "job $job: run hello-0123456789 was cancelled; nothing to do" >&2
  # Slurm then reports it as cancelled too.
  scancel "$job" && sleep 60
  exit 1
fi

# One run, one job: only one process can make the link that names the job. A second job of this run ends here.
ln -sT "$job" "$run/id$chunk" 2>/dev/null
owner=$(readlink "$run/id$chunk")
if [ -z "$owner" ]; then
  echo "job $job: cannot make a link in $run on $(hostname) (a full disk, a quota, a missing folder?)" >&2
  exit 1
fi
if [ "$owner" != "$job" ]; then
  echo "job $job: run hello-0123456789 belongs to job $owner; nothing to do" >&2
  exit 0
fi

# After a requeue the recorded end of the earlier attempt is no longer valid.
rm -f "$run/tasks/$task.end"
started="$(date +%s) $SLURM_JOB_ID ${SLURMD_NODENAME:-$(hostname)}"
record "$task.start" "$started"
export HPCDEPLOY_RESTART=${SLURM_RESTART_COUNT:-0}
why=""
finish() {
  # If a requeue on another node superseded this attempt, because this node was lost for a time, do not record its end.
  [ "$(cat "$run/tasks/$task.start")" != "$started" ] || record "$task.end" "$(date +%s) $1${why:+ $why}"
  exit "$1"
}

# --- login/no_setup.sh: the cluster has no setup lines.
known_state
set -u
# --- login/job/clean.sh: keep the node's own Python out of the container.
unset PYTHONPATH PYTHONHOME PYTHONUSERBASE LD_PRELOAD VIRTUAL_ENV CONDA_PREFIX CONDA_DEFAULT_ENV CONDA_SHLVL
# Slurm 26.05 sets these in batch scripts too (to -5; src/common/env.c), and a program that is linked with Open MPI 4 then assumes that
# it is a process of a step, and aborts. srun sets them again.
unset SLURM_STEP_ID SLURM_STEPID
# srun inherits --export=NONE from sbatch and would start the container without any environment (sbatch(1)).
export SLURM_EXPORT_ENV=ALL

image=$(cat "$run/image") || finish 1
sha256=abababababababababababababababababababababababababababababababab
# shellcheck disable=SC2034  # functions.sh uses it
image_cache_owners=()
image_fault=""
# --- login/job/temporary_folders.sh: a variable for temporary files may be meant for another machine, for example set by a profile of
# the login node.
for name in TMPDIR TMP TEMP SLURM_TMPDIR; do
  [ -d "${!name-}" ] || unset "$name"
done
# --- login/job/scratch.sh: put Apptainer's temporary files and cache on the node's own disk, outside $HOME, until the job ends.
scratch=$(mktemp -d "${SLURM_TMPDIR:-${TMPDIR:-/tmp}}/hpcdeploy-XXXXXXXX") || finish 1
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/cache"
export APPTAINER_TMPDIR="$scratch" APPTAINER_CACHEDIR="$scratch/cache"

# The functions that check the image, written by the submission script: the same as there (login/owners.sh, login/trust.sh).
# shellcheck disable=SC1091
. "$run/functions.sh" || finish 1
if [ -e "$image" ] && ! check_image "$image" "$sha256" "${run%/runs/*}"; then
  echo "error: $image_fault (seen on $(hostname))" >&2
  finish 1
fi
workdir="$run/output"
mkdir -p "$workdir" || finish 1
cd "$workdir" || finish 1

# --- login/job/field.sh: quote a field of --mount, which unlike --bind accepts every path, as in CSV (apptainer exec --help).
field() { printf '"%s=%s"' "$1" "${2//\"/\"\"}"; }
mounts=()
# The run's folder is mounted after these: a read-only bind of a folder above it would keep the program from recording its start.
mounts+=(--mount "type=bind,$(field source "$run"),$(field destination "$run")")
# --- login/job/temporary.sh: mount the node's folders for temporary files. Apptainer passes their variables to the program, but mounts
# only /tmp and /var/tmp of them. Each folder is mounted at its own path, before all others, so that the job's own mounts win.
temporary=()
for name in TMPDIR TMP TEMP SLURM_TMPDIR; do
  folder=${!name-}
  while [ "$folder" != "${folder%/}" ]; do folder=${folder%/}; done
  case $folder in /*) ;; *) continue ;; esac
  case "${temporary[*]-} ${mounts[*]} " in *",$(field destination "$folder")"[\ ,]*) continue ;; esac
  temporary+=(--mount "type=bind,$(field source "$folder"),$(field destination "$folder")")
done
mounts=(${temporary[@]+"${temporary[@]}"} "${mounts[@]}")

unbegun=$run/tasks/.unbegun.$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}.${SLURM_PROCID:-0}
# --- login/job/not_started.sh: an image's own environment script may end before its program starts ("exit 0"); Apptainer then exits with 0.
# The file $unbegun says that the program has not started, until program.sh empties it in the container, which needs no disk space.
{ echo "not begun" >"$unbegun"; } 2>/dev/null || unbegun=""
contain() { exec apptainer --quiet exec --no-eval --pwd "$PWD" "${mounts[@]}" "$image" /bin/sh "$run/program.sh" "$unbegun" "$@"; }

# Slurm signals this shell: forward the signal, and stay to record how the program ended.
container=""
trap 'signalled=yes; kill -TERM "$container" 2>/dev/null' TERM
trap 'signalled=yes; kill -INT "$container" 2>/dev/null' INT
contain "$task" "$job" &
# --- login/job/wait.sh: wait for the container. A signal ends the wait, not the program: wait again for the program's exit code.
container=$!
while :; do
  signalled="" code=0
  wait "$container" || code=$?
  if [ -z "$signalled" ] || [ "$code" -le 128 ]; then break; fi
done
# --- login/job/started.sh: report a program that never started (login/job/not_started.sh).
[ "$code" != 0 ] || [ ! -s "$unbegun" ] || {
  echo "the program never began: the environment of the image ($image, /.singularity.d/env) ended first, with exit code 0" >&2
  # shellcheck disable=SC2034
  code=125 why=never-began
}
rm -f "$unbegun"
finish "$code"
HPCDEPLOY_END_0123456789
  write "$run/program.sh" <<'HPCDEPLOY_END_0123456789'
#!/bin/sh
# Run hello-0123456789, written by hpcdeploy 0.1.0. This runs inside the container, once for each task; its last arguments are the
# task's number and the job's id.
# The command and its variables are quoted here once, and nothing else interprets them.
# The first argument is a file; emptying it shows that the program started (login/job/not_started.sh).
[ -z "$1" ] || true >"$1"
shift
export HPCDEPLOY_RUN=hello-0123456789
export HPCDEPLOY_TASK="$1"
export HPCDEPLOY_JOB_ID="$2"
export HPCDEPLOY_RESTART="${HPCDEPLOY_RESTART:-0}"
export HPCDEPLOY_IMAGE_SHA256=abababababababababababababababababababababababababababababababab
# Without a command, run the image's own run script.
set -- /.singularity.d/runscript
exec "$@"
HPCDEPLOY_END_0123456789
}
# --- login/variables.sh: remove variables of a surrounding job, or of the user, that change what the scheduler's commands do
# or lead an MPI program to a foreign server.
for name in "${!SLURM_@}" "${!SBATCH_@}" "${!SQUEUE_@}" "${!SACCT_@}" "${!SCANCEL_@}" "${!PMI_@}" "${!PMIX_@}"; do
  case $name in SLURM_CONF | SLURM_CONF_SERVER) ;; *) unset "$name" ;; esac
done

# --- login/no_setup.sh: the cluster has no setup lines.
known_state

# --- login/paths.sh: assign the paths, whose variables the setup may have set. An unset variable ends the script with a message.
set_paths

# --- login/messages.sh: strict mode, private files, messages. A cut connection must not end the script between the scheduler's
# answer and the record of it.
set -euo pipefail
umask 077
trap '' HUP PIPE
say() { printf '%s\n' "$*" >&2 || true; }
# Without +e a failing command in ~/.bash_logout, which a login shell runs at its exit (Debian's fails without a terminal), would
# replace the exit code.
die() { local code=$1; shift; say "error: $*"; trap - EXIT; set +e; exit "$code"; }

# --- login/owners.sh: who may have written a file. An ACL that lets others write also shows in the mode, as the bits of the group
# (acl(5), "Correspondence Between ACL Entries And File Permission Bits").

# Print the owner of $1, by name if the machine knows one.
owner_of() {
  local name
  name=$(stat -Lc %U -- "$1")
  [ "$name" != UNKNOWN ] || name=$(stat -Lc %u -- "$1")
  printf '%s' "$name"
}

# Test whether the user number $1 is this user, root, or one of image-cache-owners.
trusted() {
  local name
  case $1 in "$EUID" | 0) return 0 ;; esac
  for name in ${image_cache_owners[@]+"${image_cache_owners[@]}"}; do
    if [ "$name" = "$1" ] || [ "$(id -u -- "$name" 2>/dev/null)" = "$1" ]; then return 0; fi
  done
  return 1
}

# --- login/folders.sh: check the cluster's folders; only this user may write to the root.
absolute() { case $2 in /*) ;; *) die 10 "the cluster's $1 is $2, which is no absolute path; set $1 in the cluster's settings" ;; esac; }
absolute root "$root"
absolute image-cache "$cache"
absolute tmp "$tmp"
case $root$tmp in *[$'\n']*) die 10 "the cluster's root or tmp contains a line break; set another one" ;; esac
case $cache in *[$'\n"']* | *\$\(*) die 10 "the cluster's image-cache contains a line break, a double quote or \$(; set another one" ;; esac
# If the root is in a project, git and hpcdeploy must ignore it.
[ -e "$root" ] || { mkdir -p -- "$root" && printf '*\n' >"$root/.gitignore"; } || true

# keep_private FOLDER...: remove the permission of others to write to these folders, which hold the scripts that jobs run, uploads and
# results. The root itself may belong to root (the user), if an administrator made it.
keep_private() {
  local mode owner folder
  while read -r mode owner folder; do
    case $owner/$folder in
      "$EUID"/* | 0/"$root") ;;
      *) die 10 "$folder belongs to $(owner_of "$folder"), who could change its files; set root in the cluster's settings to a folder of your own" ;;
    esac
    [ $((16#$mode & 022)) = 0 ] || [ $((16#$mode & 01000)) != 0 ] || chmod go-w -- "$folder" 2>/dev/null ||
      die 10 "others may write to $folder; run 'chmod go-w $folder', or set root in the cluster's settings to a folder of your own"
  done < <(stat -Lc '%f %u %n' -- "$@" 2>/dev/null)
}
keep_private "$root"

# --- login/submit_folders.sh: make the folders of the run.
arguments=" $* "
run=$root/runs/$run_id
command -v flock >/dev/null || die 10 "flock is not on this machine; it comes with util-linux"
mkdir -p -- "$cache" "$tmp" "$run/logs" "$run/tasks" "$run/output" ||
  die 10 "cannot make $run, $cache and $tmp; set root in the cluster's settings to a folder that you may write to, and that has space"
keep_private "$root/runs" "$run"

# --- login/run_lock.sh: one call at a time for each run.

# Write standard input to the file $1 atomically, even if two calls write it at once.
write() { cat >"$1.$HOSTNAME.$$.part" && mv -f -- "$1.$HOSTNAME.$$.part" "$1"; }

# Child processes inherit the lock: a sbatch that outlives its script keeps the next call waiting.
{ : >>"$run/lock"; } || die 10 "cannot write to $run; make room there (a full disk, or your quota)"
exec {run_lock}>"$run/lock"
flock --nonblock "$run_lock" || {
  say "another call is submitting this run; waiting for it"
  # Exit status 200: the timeout was reached.
  flock ${lock_timeout:+--timeout "$lock_timeout" --conflict-exit-code 200} "$run_lock" || { [ $? != 200 ] || busy; false; } ||
    die 10 "files in $run cannot be locked; set root in the cluster's settings to another file system"
}

# --- login/trust.sh: check that only this user, or trusted users, can have changed an image.

# Test whether $1 is a folder, not a link, of this user, and only this user can write to it.
is_private() { [ ! -L "$1" ] && [ -d "$1" ] && [ -O "$1" ] && [ $((0$(stat -c %a -- "$1") & 022)) = 0 ]; }

# Test whether anybody but this user and root can have written or replaced the file $1: by owner and mode of the file and of each folder
# and link on its path. In a folder with the sticky bit, others cannot remove or rename the file (rename(2), EPERM). But a file of this
# user can get a second name there if fs.protected_hardlinks is 0 (proc_sys_fs(5)), so in such a folder a file must have one name.
others_can_change() {
  local rest=$1 name here mode owner hard_links target paths names number shared links=0
  while :; do
    case $rest/ in */../*) return 0 ;; esac
    paths=(/) here=""
    IFS=/ read -r -d '' -a names <<<"$rest" || true
    for name in "${names[@]}"; do
      name=${name%$'\n'}
      case $name in "" | .) ;; *) here+=/$name && paths+=("$here") ;; esac
    done
    number=0 target="" shared=""
    while read -r mode owner hard_links; do
      case $owner in "$EUID" | 0) ;; *) return 0 ;; esac
      mode=$((16#$mode))
      case $((mode & 0170000)) in
        $((0040000))) ;;
        *) [ -z "$shared" ] || [ "$hard_links" = 1 ] || return 0 ;;
      esac
      case $((mode & 0170000)) in
        $((0120000)))
          target=$(readlink -- "${paths[number]}") && [ $((links += 1)) -le 40 ] || return 0
          case $target in /*) ;; *) target=${paths[number]%/*}/$target ;; esac
          rest=$target${here#"${paths[number]}"}
          break
          ;;
        $((0040000)))
          shared=""
          [ $((mode & 022)) = 0 ] || { [ $((mode & 01000)) != 0 ] && shared=1; } || return 0
          ;;
        *) [ $((mode & 022)) = 0 ] || return 0 ;;
      esac
      number=$((number + 1))
    done < <(stat -c '%f %u %h' -- "${paths[@]}" 2>/dev/null)
    [ -n "$target" ] || break
  done
  [ "$number" != "${#paths[@]}" ]
}

# Print the folder in the root $1 that records images with a verified sha256; fail if others can write to it.
verified_in() {
  [ -d "$1/verified" ] || mkdir -m 0700 -- "$1/verified" 2>/dev/null || true
  is_private "$1/verified" && printf '%s' "$1/verified"
}

# Compare the image $1 with its sha256 $2; on a mismatch image_fault is the reason.
is_the_image() {
  local found
  echo "checking the sha256 of $1, which others can have written" >&2
  found=$(sha256sum <"$1") || { image_fault="cannot read the image $1" && return 1; }
  [ "${found%% *}" = "$2" ] && return
  image_fault="the image $1 does not match the checksum in its name: its sha256 is ${found%% *}, and it belongs to $(owner_of "$1"). \
Remove it, or set image-cache to a folder of your own"
  return 1
}

# Replace the image $1, which others may write to, by a copy: a process that has the file open could change it while a job runs.
replace_by_copy() {
  local copy
  { copy=$(mktemp -- "${1%/*}/.$2.XXXXXXXXXX.part") && cp --reflink=auto -- "$1" "$copy"; } ||
    { image_fault="others may write to the image $1, and it cannot be copied to a file that is yours alone; remove it" && return 1; }
  is_the_image "$copy" "$2" && chmod --reference="$1" -- "$copy" && chmod go-w -- "$copy" && mv -f -- "$copy" "$1" && return
  rm -f -- "$copy"
  image_fault="others may write to the image $1, and it does not match the checksum in its name; remove it"
  return 1
}

# check_image FILE SHA256 ROOT: test whether the image may run; if not, image_fault is the reason. A trusted user must own it and its
# folder, and no other user may write to it. If others can have replaced it, its sha256 is compared. A match is recorded with device,
# inode, size and the times of the last change of content and inode, one of which changes with the file. A file that was changed in the
# last two seconds is not recorded: the clock of a file system has ticks, and a second change within one tick would be invisible.
check_image() {
  local file=$1 path mode owner now known="" identity changed altered
  image_fault=""
  for path in "${1%/*}" "$file"; do
    read -r mode owner < <(stat -Lc '%f %u' -- "$path") || { image_fault="cannot look at $path" && return 1; }
    if ! trusted "$owner"; then
      image_fault="$path belongs to $(owner_of "$path"), who could have put any image there; expected you or root. If you trust \
them, set image-cache-owners = [\"$(owner_of "$path")\"] in the cluster's settings, else set image-cache to a folder of your own"
      return 1
    fi
    mode=$((16#$mode))
    if [ $((mode & 0170000)) != $((0100000)) ]; then
      [ $((mode & 02)) = 0 ] || [ $((mode & 01000)) != 0 ] || {
        image_fault="everybody may write to the folder of images $path; run 'chmod o-w $path', or set image-cache to another folder"
        return 1
      }
    elif [ $((mode & 022)) != 0 ]; then
      [ "$owner" = "$EUID" ] || {
        image_fault="others may write to the image $path; let its owner $(owner_of "$path") remove it, or set image-cache to another folder"
        return 1
      }
      replace_by_copy "$path" "$2" || return
    fi
  done
  others_can_change "$file" || return 0
  identity=$(stat -Lc '%d %i %s %.9Y %.9Z' -- "$file") || { image_fault="cannot look at $file" && return 1; }
  known=$(verified_in "$3") || known=""
  if [ -n "$known" ] && [ -r "$known/$2" ]; then
    case $'\n'$(<"$known/$2")$'\n' in *$'\n'"$identity"$'\n'*) return 0 ;; esac
  fi
  now=$(date +%s)
  is_the_image "$file" "$2" || return
  [ "$(stat -Lc '%d %i %s %.9Y %.9Z' -- "$file")" = "$identity" ] || { image_fault="the image $file changed while it was read" && return 1; }
  [ -n "$known" ] || return 0
  read -r _ _ _ changed altered <<<"$identity"
  if [ "${changed%.*}" -le $((now - 2)) ] && [ "${altered%.*}" -le $((now - 2)) ]; then
    { printf '%s\n' "$identity" >>"$known/$2"; } 2>/dev/null || true
  fi
}

# --- login/image.sh: provide the image, once for all runs, as $cache/SHA256.sif. $image_from is where a missing image comes from.
image=$cache/$sha256.sif

record_image() {
  printf '%s\n' "$image" | write "$run/image" || die 10 "cannot write to $run; make room there (a full disk, or your quota)"
}
ensure_image() {
  if [ "$cache_limit" = 0 ]; then record_image; else record_image_use; fi
  if [ -e "$image" ]; then
    check_image "$image" "$sha256" "$root" || die 11 "$image_fault"
    return 0
  fi
  [ "$cache_limit" = 0 ] || make_room || true
  case $image_from in
    registry) pull_once ;;
    job) say "the job pulls the image: ${image_source:-$image}" ;;
    upload) ;; # see ensure_uploads
    *) die 11 "the image $sha256 is not in $cache, and it was never pushed to a registry: run 'hpcdeploy push', then submit again" ;;
  esac
}

# --- login/json.sh: print a text as a JSON string.
json() {
  local text=$1
  text=${text//\\/\\\\}
  text=${text//\"/\\\"}
  text=${text//$'\t'/\\t}
  printf '"%s"' "$text"
}

# --- login/answer.sh: print the line that hpcdeploy reads; a login shell may print other lines before and after it.
answer() {
  printf '\nHPCDEPLOY {"run": "%s", "job_id": "%s", "already": %s, "part": %s, "folder": %s}\n' "$run_id" "$1" "$2" "$chunk_size" "$(json "$run")" || true
}

# --- login/slurm/my_jobs.sh: list the user's jobs, one per line: SUBMITTED|JOB|STATE|NODES|REASON|COMMENT|NAME. The last three
# are free texts. The arguments are options of squeue that select the jobs.
my_jobs() {
  SLURM_TIME_FORMAT=%s squeue --noheader --user="$(id -un)" --format='%V|%F|%T|%N|%r|%k|%j' "$@"
}

# Test whether the line $1 of squeue or sacct belongs to the job that a run calls $2. That is the job's name, which users and sites
# change (scontrol update JobName, a job_submit plugin), and it is in the job's comment. Earlier versions gave all arrays of a run
# the same comment: there only the name differs.
belongs_to() {
  case $1 in
    *"|$2."[0-9]*) return 1 ;;
    *"|hpcdeploy:$2|"* | *"|$2") ;;
    *) return 1 ;;
  esac
}

# --- login/slurm/lookup.sh: look for the run's job.

# Print the ids of this run's jobs that were submitted at $1 (seconds since 1970) or later, the first one first. Fail if Slurm cannot be
# queried.
look_up() {
  # Keep only the run's own lines: the user may have any number of other jobs.
  local found
  found=$(set -o pipefail && my_jobs --all --states=all | accepted "$1") || return
  # Soon only the accounting knows a job that ended, if there is one. A job that never started may be unknown then; one that started has
  # made the link $run/id itself. The accounting is not queried by name, because the name may have changed.
  if [ -z "$found" ]; then
    found=$(set -o pipefail &&
      SLURM_TIME_FORMAT=%s sacct --noheader --allocations --parsable2 --format=Submit,JobID,State,NodeList,Comment,JobName \
        --starttime="now-$(seconds_back "$1")" 2>/dev/null | accepted "$1") || no_accounting || return
  fi
  [ -z "$found" ] || sort -n <<<"$found" | cut -d ' ' -f 2 | uniq
}

# Read lines of squeue or sacct; print "SUBMITTED JOB" for each job of this run that Slurm accepted at $1 or later. Slurm also keeps a
# record of a job that it rejects: FAILED, without a node (sacct: "None assigned"), because it never started (job_allocate in
# src/slurmctld/job_mgr.c). A job that was accepted and cannot start stays PENDING, or becomes CANCELLED: it is printed.
accepted() {
  local when job state nodes rest
  { grep -F -e "$run_id" || true; } | while IFS='|' read -r when job state nodes rest; do
    belongs_to "|$rest" "$run_id$chunk" || continue
    case $when in *[!0-9]*) ;; *) [ "${when:-0}" -ge "$1" ] || continue ;; esac
    case $state/$nodes in FAILED/ | FAILED/None\ assigned) continue ;; esac
    [ -z "$job" ] || printf '%s %s\n' "$when" "${job%%[_+]*}"
  done
}

# Print how many seconds ago the time $1 was, at least an hour and at most 30 days: how far back the accounting is searched.
seconds_back() {
  local back=$(($(date +%s) - $1))
  [ "$back" -le 2592000 ] || back=2592000
  [ "$back" -ge 3600 ] || back=3600
  echo "$back"
}

# Test whether sacct failed because there is no accounting, and not because the accounting does not answer.
no_accounting() {
  command -v sacct >/dev/null || return 0
  case $(sacct --noheader 2>&1) in *"is disabled"*) ;; *) return 1 ;; esac
}

cancel_job() { scancel "$1"; }

# --- login/slurm/release.sh: print the release of Slurm's command $1 as a number, 2405 for 24.05; 0 if it is unknown.
slurm_release() {
  local version
  version=$("$1" --version 2>/dev/null) || version=""
  if [[ $version =~ ([0-9]+)\.([0-9]+) ]]; then
    echo "$((10#${BASH_REMATCH[1]} * 100 + 10#${BASH_REMATCH[2]}))"
  else
    echo 0
  fi
}

# --- login/slurm/check_job.sh: find out, before the job is submitted, whether Slurm would accept it and then never start it.

# Slurm 24.11 rejects a job that no node of the cluster can run. 22.05 and 26.05 accept it and leave it in the queue (seen); only
# --test-only reports it there, and never leaves a job behind (job_allocate, will_run, in src/slurmctld/job_mgr.c).
check_job() {
  local release output unavailable array=()
  release=$(slurm_release sbatch)
  [ "$release" -lt 2411 ] || [ "$release" -ge 2605 ] || return 0
  [ "$is_array" = no ] || array=(--array=0)
  output=$(cd -- "$run" && sbatch --test-only --chdir="$run" ${array[@]+"${array[@]}"} job.sh 2>&1) && return
  output=${output//$'\n'/; }
  case $output in *"node configuration is not available"*) ;; *) return 0 ;; esac
  # It reports the same if the nodes are only down, drained or reserved now (job_start_data in src/slurmctld/job_scheduler.c).
  unavailable=$(unavailable_nodes) || unavailable="an unknown number of"
  [ "$unavailable" != 0 ] || stop 12 "Slurm rejects the job: $output"
  say "note: none of the nodes that are available now can run this job ($output); $unavailable nodes are down, drained or reserved. \
If it does not start once they are back, cancel it and request less"
}

# Print how many nodes, of the job's partition if it names one, accept no jobs now. The signs after a state: powered down, powering up,
# planned, and some CPUs allocated (sinfo(1), NODE STATE CODES).
unavailable_nodes() {
  local partition
  partition=$(sed -nE 's/^#SBATCH --partition=([A-Za-z0-9_.,+-]+)$/\1/p' "$run/job.sh")
  sinfo --all --noheader --Node ${partition:+--partition="$partition"} --format='%N %T' |
    awk '$2 !~ /^(idle|mixed|allocated|completing|planned)[~#+-]*$/ && !seen[$1]++ { count++ } END { print count + 0 }'
}

# --- login/slurm/submit.sh: submit a job to Slurm, and understand sbatch's answer.
write_job() {
  local next
  # Slurm drops each backslash in the path of a log, also in its folder, and then inserts no number (sbatch(1), FILENAME PATTERN).
  case $run in *\\*) die 10 "the cluster's root contains a backslash, and Slurm would lose the logs; set another one" ;; esac
  declare -f "${job_functions[@]}" | write "$run/functions.sh"
  write_files
  for ((next = 0; next < ${#after[@]}; next += 3)); do await "${after[@]:next:3}"; done
  [ -z "$mpi" ] || check_mpi
  check_job
}

# Print the job's id. Paths are options, which sbatch does not tokenize; everything else is in job.sh.
submit_job() {
  # Slurm would also replace % in the path of the folder: %j, %x.
  local output line logs=logs/$log_name patterns=${run//%/%%} options=() job_arguments=() wait_for=$dependency
  [ "$is_array" = no ] || array_options || return
  [ -z "$wait_for" ] || options+=(--dependency="$wait_for")
  output=$(cd -- "$run" && sbatch --parsable --chdir="$run" --open-mode=append ${options[@]+"${options[@]}"} \
    --output="$patterns/$logs.out" --error="$patterns/$logs.err" job.sh ${job_arguments[@]+"${job_arguments[@]}"}) || return
  # Some sites print their own messages, even with --parsable; the id is alone on its line, or before ;cluster.
  while IFS= read -r line; do
    if [[ $line =~ ^([0-9]+)(\;[^[:space:]]+)?$ ]]; then
      printf '%s' "${BASH_REMATCH[1]}"
      return
    fi
  done <<<"$output"
  printf 'sbatch printed no job id, but: %s\n' "$output" >&2
  return 1
}

# Test whether sbatch's error in the file $1 is a definite refusal. After any other error the controller may have accepted the job.
is_refusal() {
  local text
  text=$(<"$1")
  case $text in
    *"timed out"* | *"Unable to contact"* | *"Zero Bytes"* | *"onnection"* | *"printed no job id"*) return 1 ;;
    *"uthentication"* | *"essage receive"* | *"essage send"* | *"Transport"* | *"standby"* | *"temporarily"*) return 1 ;;
    *"error:"* | *"fatal:"* | *"not found"*) return 0 ;;
    *) return 1 ;;
  esac
}

# Test whether sbatch could not connect to any controller, so that none can have the job.
never_connected() { grep -q 'connect failure' -- "$1"; }

# --- login/job_link.sh: which job is the run's. The link $run/id -> NUMBER says so: only one process can make it, completely, on network
# file systems too, and on a full disk (symlink(2)). The job of a later array chunk has a link with the chunk's name ($chunk).

# Make the link point to the first of the jobs "$@", unless it exists, and cancel all other ones: two calls may both have submitted if
# the locks of a file system hold on one machine only.
record_job() {
  local job
  ln -sT -- "$1" "$run/id$chunk" 2>/dev/null || true
  job_id=$(readlink -- "$run/id$chunk") || { job_id=$1 && say "the job's number could not be recorded in $run; make room there"; }
  sync -- "$run" 2>/dev/null || true
  for job in "$@"; do
    [ "$job" = "$job_id" ] || { say "the run has job $job_id; cancelling the duplicate $job" && cancel_job "$job" >&2; } || true
  done
}

# Print the time (seconds since 1970) in the file $1; 0 if there is none: a crash may have left the file empty.
time_in() {
  local text=""
  [ ! -s "$1" ] || read -r text <"$1" || true
  case $text in '' | *[!0-9]*) echo 0 ;; *) echo "$text" ;; esac
}

# Set jobs to the scheduler's jobs with the run's name. A job from ten minutes or more before the first attempt belongs to an older run
# with the same id: daemons whose clocks differ by more than five minutes refuse to talk to each other (munge(7), TTL).
query_jobs() {
  local found since
  since=$(($(time_in "$run/submitting$chunk") - 600))
  found=$(look_up "$since") || return
  read -r -d '' -a jobs <<<"$found" || true
}

# Query until the scheduler had time to show a job that it accepted just before the connection was cut. A request without an answer may
# arrive later.
query_jobs_with_retries() {
  local pause pauses=(0 2 3)
  [ $(($(date +%s) - $(time_in "$run/unanswered$chunk"))) -ge 60 ] || pauses+=(5 10 10 15 15)
  for pause in "${pauses[@]}"; do
    sleep "$pause"
    query_jobs || return
    [ "${#jobs[@]}" = 0 ] || return 0
  done
}

# --- login/submit.sh: submit the run, exactly once however often this runs. docs/architecture.md explains each step.
chunks=("")
chunk_size=0
# A site limits how many tasks an array may have, so a large run needs several arrays, its chunks. Each has its own job, link and files,
# whose names end with a dot and the number of its first task; for the first chunk, mostly the only one, with nothing.
[ "$is_array" = no ] || choose_chunks
chunk=""
job_ids=""

# Before anything is submitted a failure is final; afterwards it is not, because the earlier chunks are submitted.
stop() {
  local code=$1
  shift
  [ -z "$chunk" ] || { code=13 && set -- "$* (tasks 0 to $((${chunk#.} - 1)) are submitted)"; }
  die "$code" "$@"
}

# Test whether the scheduler answers and does not know the job that it accepted, which left no trace either. A controller that crashes
# forgets the jobs of its last seconds, and gives their numbers to the next jobs (seen with Slurm 24.11).
is_forgotten() {
  [ ! -e "$run/cancelled" ] && [ -z "$(ls -A -- "$run/tasks")" ] && query_jobs && [ "${#jobs[@]}" = 0 ]
}

# A cancellation before the job's number is known first writes a file into the run's folder, and then looks for the job. A call that does
# not see the file before it submits sees it afterwards, and cancels the job $1.
stop_if_cancelled() {
  [ -e "$run/cancelled" ] || return 0
  [ -z "${1-}" ] || { say "cancelling job $1" && cancel_job "$1" >&2; } || true
  die 15 "run $run_id was cancelled, and is not submitted any more; to run it after all, submit it as a new run"
}

cannot_write() { stop 10 "cannot write to $run; make room there (a full disk, or your quota); this was not submitted"; }

prepared=no
prepare() {
  local tree
  [ "$prepared" = no ] || return 0
  prepared=yes
  command -v "$submit_command" >/dev/null || stop 10 "$submit_command is not on the PATH of this machine, $HOSTNAME; set the \
cluster's host to its login node, or add a line that provides $submit_command (module load ...) to the cluster's setup"
  set_job_paths
  ensure_image
  [ "$has_uploads" = no ] || ensure_uploads
  for tree in ${trees[@]+"${trees[@]}"}; do unpack "$tree"; done
  # No "||" after these commands: it would let them continue after a failure (bash(1), set -e).
  trap cannot_write EXIT
  write_job
}

# Submit this chunk, unless it is submitted already, and set job_id to its job.
submit_chunk() {
  local code earlier=no
  if job_id=$(readlink -- "$run/id$chunk"); then
    [[ $arguments != *" again "* ]] || ! is_forgotten || stop 12 "$scheduler does not know this run's job $job_id, which never started: \
it was cancelled before that, or a crash of $scheduler lost it. To run it after all, submit it as a new run"
    return
  fi
  stop_if_cancelled
  jobs=()
  if [ -e "$run/submitting$chunk" ]; then
    earlier=yes
    say "an earlier call was interrupted while submitting; querying the scheduler"
    query_jobs_with_retries || die 13 "cannot query the scheduler whether it has run $run_id"
  elif [[ $arguments == *" again "* ]]; then
    query_jobs || die 13 "cannot query the scheduler whether it has run $run_id"
  fi
  if [ "${#jobs[@]}" != 0 ]; then
    record_job "${jobs[@]}"
    return
  fi

  prepare
  stop_if_cancelled
  trap cannot_write EXIT
  : >"$run/submit.err"
  [ -e "$run/submitting$chunk" ] || date +%s | write "$run/submitting$chunk"
  trap - EXIT
  sync -- "$run/submitting$chunk" "$run" 2>/dev/null || true

  # From here on no failure ends the script automatically: each exit reports what is known about the job.
  set +e
  job_id=$(submit_job 2>"$run/submit.err")
  code=$?
  cat -- "$run/submit.err" >&2
  if [ "$code" = 0 ]; then
    # The request of an earlier call may have arrived after all.
    [ "$earlier" = no ] || query_jobs
    [ "${#jobs[@]}" != 0 ] || jobs=("$job_id")
  # The scheduler may have accepted the job although its answer was lost: query it before accepting a failure.
  elif is_refusal "$run/submit.err"; then
    query_jobs || die 13 "the submission failed, and the scheduler could not be queried whether it accepted the job"
    if [ "${#jobs[@]}" = 0 ]; then
      rm -f -- "$run/submitting$chunk" "$run/unanswered$chunk"
      stop 12 "$scheduler rejected the job; its message is above"
    fi
  elif ! query_jobs_with_retries || [ "${#jobs[@]}" = 0 ]; then
    never_connected "$run/submit.err" || date +%s >"$run/unanswered$chunk"
    die 13 "$scheduler did not report whether it accepted the job, and does not show it now; its message is above"
  fi
  record_job "${jobs[@]}"
  set -e
  stop_if_cancelled "$job_id"
  already=false
}

already=true
for chunk in "${chunks[@]}"; do
  submit_chunk
  job_ids+=${job_ids:+,}$job_id
done
if "$already"; then say "run $run_id was submitted before"; else say "submitted as job $job_ids"; fi
answer "$job_ids" "$already"
}
# bash reads main completely before it runs main. So a script that was cut off runs no part of main.
main "$@" </dev/null
