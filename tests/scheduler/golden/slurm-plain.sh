#!/bin/bash
# Submit run hello-0123456789 to slurm. Written by hpcdeploy 0.1.0.
#
# Run it on a login node:  bash submit.sh
# It needs bash, coreutils, flock (util-linux), Apptainer and the scheduler's commands, but not hpcdeploy.
# You can run it several times: it submits the run once, and later calls report the submitted job. With the argument "again" it
# first queries the scheduler for the run's job, even if the run's folder does not exist or has no record of an earlier call.
# With the argument "bring" it leaves two messages to hpcdeploy: which files are missing, and which job was submitted.
#
# Exit status: 0 submitted, now or earlier. 10 login node not usable (missing command, unusable root). 11 no image.
# 12 rejected by the scheduler. 13 unknown whether the scheduler accepted the job: run this script again.
# 14 files must be uploaded first (they are listed). 15 the run was cancelled.

# --- login/state.sh: set bash to a known state, whatever a profile has set (options, IFS, aliases, functions). In POSIX mode a function cannot
# hide a special builtin (Bash Reference Manual, 6.11). A backslash before a command prevents alias expansion.
case ${BASH_VERSION-} in
  "")
    echo "error: this script is for bash, but another shell reads it. If a login profile calls exec (exec zsh), let it do so in" \
      "interactive shells only: case \$- in *i*) exec zsh ;; esac" >&2
    exit 10
    ;;
esac
{ POSIXLY_CORRECT=1; \set +efnuvxC; \unset -f builtin unset set unalias shopt declare type trap eval exit return local test [ printf echo; \unset POSIXLY_CORRECT; } 2>/dev/null
\trap - DEBUG ERR
# Remove functions that hide programs which a job calls before the setup. Others are removed after the setup (known_state), which may use them.
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
  # Remove functions that hide a builtin or a program (cd, rm). Keep other functions, because the job's setup may need them (module). Keep
  # functions with the names of the scheduler's and Apptainer's commands, because the site wants users to call its wrappers.
  for name in $(declare -F); do
    case $name in
      declare | -* | known_state | set_paths | record | finish) continue ;;
      sbatch | squeue | sacct | scancel | scontrol | sinfo | srun | condor_* | apptainer | singularity) continue ;;
    esac
    if type -f "$name" >/dev/null 2>&1; then unset -f "$name"; fi
  done
  # Do not export the options of this script, because a program that is a bash script (a site's sbatch) would inherit them.
  export -n SHELLOPTS BASHOPTS
  return 0
}

# --- login/begin.sh: tell hpcdeploy that the script started. A line break comes first, because a profile may have printed text without one.
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
# --- login/state.sh: set bash to a known state, whatever a profile has set (options, IFS, aliases, functions). In POSIX mode a function cannot
# hide a special builtin (Bash Reference Manual, 6.11). A backslash before a command prevents alias expansion.
case ${BASH_VERSION-} in
  "")
    echo "error: this script is for bash, but another shell reads it. If a login profile calls exec (exec zsh), let it do so in" \
      "interactive shells only: case \$- in *i*) exec zsh ;; esac" >&2
    exit 10
    ;;
esac
{ POSIXLY_CORRECT=1; \set +efnuvxC; \unset -f builtin unset set unalias shopt declare type trap eval exit return local test [ printf echo; \unset POSIXLY_CORRECT; } 2>/dev/null
\trap - DEBUG ERR
# Remove functions that hide programs which a job calls before the setup. Others are removed after the setup (known_state), which may use them.
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
  # Remove functions that hide a builtin or a program (cd, rm). Keep other functions, because the job's setup may need them (module). Keep
  # functions with the names of the scheduler's and Apptainer's commands, because the site wants users to call its wrappers.
  for name in $(declare -F); do
    case $name in
      declare | -* | known_state | set_paths | record | finish) continue ;;
      sbatch | squeue | sacct | scancel | scontrol | sinfo | srun | condor_* | apptainer | singularity) continue ;;
    esac
    if type -f "$name" >/dev/null 2>&1; then unset -f "$name"; fi
  done
  # Do not export the options of this script, because a program that is a bash script (a site's sbatch) would inherit them.
  export -n SHELLOPTS BASHOPTS
  return 0
}
set -u
run=$PWD
chunk=""
task=${SLURM_ARRAY_TASK_ID:-0}
job=${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}

# Write the text $2 to the file $1 in the folder tasks, atomically.
record() { printf '%s\n' "$2" >"$run/tasks/.$1.$SLURM_JOB_ID" && mv -f "$run/tasks/.$1.$SLURM_JOB_ID" "$run/tasks/$1"; }

# If the run was cancelled before its job id was known, this job may have been submitted afterwards: end it.
if [ -e "$run/cancelled" ]; then
  echo "job $job: run hello-0123456789 was cancelled; nothing to do" >&2
  # Slurm then reports it as cancelled too.
  scancel "$job" && sleep 60
  exit 1
fi

# Record this job as the run's job with the link "id", which only one process can make. A second job of the run ends here.
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

# After a requeue there may be a record of the end of the earlier attempt, which is not valid any more.
rm -f "$run/tasks/$task.end"
started="$(date +%s) $SLURM_JOB_ID ${SLURMD_NODENAME:-$(hostname)}"
record "$task.start" "$started"
export HPCDEPLOY_RESTART=${SLURM_RESTART_COUNT:-0}
why=""
finish() {
  # Record the end, unless another attempt has started: if this node was unreachable for a time, Slurm requeued the job on another node.
  [ "$(cat "$run/tasks/$task.start")" != "$started" ] || record "$task.end" "$(date +%s) $1${why:+ $why}"
  exit "$1"
}

# --- login/no_setup.sh: the cluster has no setup lines.
known_state
set -u
# --- login/job/clean.sh: remove variables with which the node's Python and libraries would affect programs in the container.
unset PYTHONPATH PYTHONHOME PYTHONUSERBASE LD_PRELOAD VIRTUAL_ENV CONDA_PREFIX CONDA_DEFAULT_ENV CONDA_SHLVL
# Slurm 26.05 sets these in batch scripts too (to -5; src/common/env.c), and a program that is linked with Open MPI 4 then assumes that
# it is a process of a step, and aborts. srun sets them again.
unset SLURM_STEP_ID SLURM_STEPID
# Without this, srun would inherit --export=NONE from sbatch, and start the container without any environment (sbatch(1)).
export SLURM_EXPORT_ENV=ALL

image=$(cat "$run/image") || finish 1
sha256=abababababababababababababababababababababababababababababababab
# shellcheck disable=SC2034  # functions.sh uses it
image_cache_owners=()
image_fault=""
# --- login/job/temporary_folders.sh: unset each variable that names a folder for temporary files which does not exist here. A login profile
# may have set the variable for another machine.
for name in TMPDIR TMP TEMP SLURM_TMPDIR; do
  [ -d "${!name-}" ] || unset "$name"
done
# --- login/job/scratch.sh: put Apptainer's temporary files and cache on the node's own disk, outside $HOME, until the job ends.
scratch=$(mktemp -d "${SLURM_TMPDIR:-${TMPDIR:-/tmp}}/hpcdeploy-XXXXXXXX") || finish 1
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/cache"
export APPTAINER_TMPDIR="$scratch" APPTAINER_CACHEDIR="$scratch/cache"

# Load the functions that check the image. The submission script wrote them, and uses the same ones (login/owners.sh, login/trust.sh).
# shellcheck disable=SC1091
. "$run/functions.sh" || finish 1
if [ -e "$image" ] && ! check_image "$image" "$sha256" "${run%/runs/*}"; then
  echo "error: $image_fault (seen on $(hostname))" >&2
  finish 1
fi
workdir="$run/output"
mkdir -p "$workdir" || finish 1
cd "$workdir" || finish 1

# --- login/job/field.sh: print KEY=VALUE as a field of --mount, quoted as in CSV (apptainer exec --help). --bind is not used, because it
# does not accept every path.
field() { printf '"%s=%s"' "$1" "${2//\"/\"\"}"; }
mounts=()
# The run's folder is mounted last. Otherwise a read-only bind of a parent folder would prevent that the program's start is recorded.
mounts+=(--mount "type=bind,$(field source "$run"),$(field destination "$run")")
# --- login/job/temporary.sh: mount the node's folders for temporary files. Apptainer passes the variables that name them to the program, but
# mounts only /tmp and /var/tmp. Each folder is mounted at its own path. These mounts come first, so that the job's mounts have precedence.
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
# --- login/job/not_started.sh: mark that the program has not started, in the file $unbegun. program.sh, in the container, empties the file,
# which needs no disk space. The mark is needed because the image's environment script may end before the program starts ("exit 0"), and
# Apptainer then exits with 0.
{ echo "not begun" >"$unbegun"; } 2>/dev/null || unbegun=""
contain() { exec apptainer --quiet exec --no-eval --pwd "$PWD" "${mounts[@]}" "$image" /bin/sh "$run/program.sh" "$unbegun" "$@"; }

# Slurm sends signals to this shell. Forward them, and do not exit, so that the end of the program is recorded.
container=""
trap 'signalled=yes; kill -TERM "$container" 2>/dev/null' TERM
trap 'signalled=yes; kill -INT "$container" 2>/dev/null' INT
contain "$task" "$job" &
# --- login/job/wait.sh: wait for the container's exit code. A signal to this shell ends the wait but not the program, so wait again.
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
# The command and its variables are quoted here, and no other shell interprets them.
# The first argument is a file. It is emptied to record that the program started (login/job/not_started.sh).
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
# --- login/variables.sh: remove variables, set by the user or by a job that runs this script, that would change what the scheduler's commands
# do, or make an MPI program connect to another job's server.
for name in "${!SLURM_@}" "${!SBATCH_@}" "${!SQUEUE_@}" "${!SACCT_@}" "${!SCANCEL_@}" "${!PMI_@}" "${!PMIX_@}"; do
  case $name in SLURM_CONF | SLURM_CONF_SERVER) ;; *) unset "$name" ;; esac
done

# --- login/no_setup.sh: the cluster has no setup lines.
known_state

# --- login/paths.sh: assign the paths, after the setup, which may set variables in them. An unset variable ends the script with a message.
set_paths

# --- login/messages.sh: set strict mode and private files, and define messages. HUP and PIPE are ignored, because a lost connection
# must not end the script after the scheduler accepted a job and before the job id is recorded.
set -euo pipefail
umask 077
trap '' HUP PIPE
say() { printf '%s\n' "$*" >&2 || true; }
# End with the error message $2 and exit status $1. set +e is needed because a login shell runs ~/.bash_logout at its exit: with -e, a command
# that fails there would replace the exit status (Debian's file has one that fails without a terminal).
die() { local code=$1; shift; say "error: $*"; trap - EXIT; set +e; exit "$code"; }

# --- login/owners.sh: functions about owners of files. Modes are sufficient to find out who can write to a file: if an ACL permits others to
# write, the mode permits the group to write (acl(5), "Correspondence Between ACL Entries And File Permission Bits").

# Print the name of the owner of $1, or the user number if the machine knows no name.
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

# --- login/folders.sh: check the cluster's folders, and that only this user can write to the root.
absolute() { case $2 in /*) ;; *) die 10 "the cluster's $1 is $2, which is not an absolute path; set $1 in the cluster's settings" ;; esac; }
absolute root "$root"
absolute image-cache "$cache"
absolute tmp "$tmp"
case $root$tmp in *[$'\n']*) die 10 "the cluster's root or tmp contains a line break; set another one" ;; esac
case $cache in *[$'\n"']* | *\$\(*) die 10 "the cluster's image-cache contains a line break, a double quote or \$(; set another one" ;; esac
# If the root is in a project, git and hpcdeploy must ignore it.
[ -e "$root" ] || { mkdir -p -- "$root" && printf '*\n' >"$root/.gitignore"; } || true

# keep_private FOLDER...: ensure that others cannot write to these folders, because they contain scripts that jobs run, uploads and results.
# The folders must belong to this user. Only the cluster's root may also belong to the user root, if an administrator made it.
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

# --- login/submit_folders.sh: make the folders of the run, of images and of temporary files.
arguments=" $* "
run=$root/runs/$run_id
command -v flock >/dev/null || die 10 "flock is not on this machine; it comes with util-linux"
mkdir -p -- "$cache" "$tmp" "$run/logs" "$run/tasks" "$run/output" ||
  die 10 "cannot make $run, $cache and $tmp; set root in the cluster's settings to a folder that you may write to, and that has space"
keep_private "$root/runs" "$run"

# --- login/run_lock.sh: lock the run, so that only one script at a time works on it.

# Write standard input to the file $1 atomically, even if two calls write it at once.
write() { cat >"$1.$HOSTNAME.$$.part" && mv -f -- "$1.$HOSTNAME.$$.part" "$1"; }

# Child processes inherit the lock, so that the next call also waits for a sbatch that is still running after its script was killed.
{ : >>"$run/lock"; } || die 10 "cannot write to $run; make room there (a full disk, or your quota)"
exec {run_lock}>"$run/lock"
flock --nonblock "$run_lock" || {
  say "another call is submitting this run; waiting for it"
  # Exit status 200: the timeout was reached.
  flock ${lock_timeout:+--timeout "$lock_timeout" --conflict-exit-code 200} "$run_lock" || { [ $? != 200 ] || busy; false; } ||
    die 10 "files in $run cannot be locked; set root in the cluster's settings to another file system"
}

# --- login/trust.sh: check that only this user and trusted users can have changed an image.

# Test whether $1 is a folder (no link) that belongs to this user, and to which only this user can write.
is_private() { [ ! -L "$1" ] && [ -d "$1" ] && [ -O "$1" ] && [ $((0$(stat -c %a -- "$1") & 022)) = 0 ]; }

# Test whether a user other than this user and root can have written or replaced the file $1. Owner and mode of the file, and of each folder and
# link on its path, are examined. Others may write to a folder with the sticky bit, because they cannot remove or rename this user's files
# there (rename(2), EPERM). But if fs.protected_hardlinks is 0, they can give a file of this user a second name there (proc_sys_fs(5)). So
# a file in such a folder must have only one name.
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

# Print the folder in the root $1 with the records of images whose sha256 was verified; fail if others can write to this folder.
verified_in() {
  [ -d "$1/verified" ] || mkdir -m 0700 -- "$1/verified" 2>/dev/null || true
  is_private "$1/verified" && printf '%s' "$1/verified"
}

# Test whether the sha256 of the image $1 is $2; if not, set image_fault to the error message.
is_the_image() {
  local found
  echo "checking the sha256 of $1, which others can have written" >&2
  found=$(sha256sum <"$1") || { image_fault="cannot read the image $1" && return 1; }
  [ "${found%% *}" = "$2" ] && return
  image_fault="the image $1 does not match the checksum in its name: its sha256 is ${found%% *}, and it belongs to $(owner_of "$1"). \
Remove it, or set image-cache to a folder of your own"
  return 1
}

# Replace the image $1, to which others may write, by a copy. Changing only the mode would not suffice, because a process that has the file
# open could change it while a job runs.
replace_by_copy() {
  local copy
  { copy=$(mktemp -- "${1%/*}/.$2.XXXXXXXXXX.part") && cp --reflink=auto -- "$1" "$copy"; } ||
    { image_fault="others may write to the image $1, and it cannot be copied to a file that is yours alone; remove it" && return 1; }
  is_the_image "$copy" "$2" && chmod --reference="$1" -- "$copy" && chmod go-w -- "$copy" && mv -f -- "$copy" "$1" && return
  rm -f -- "$copy"
  image_fault="others may write to the image $1, and it does not match the checksum in its name; remove it"
  return 1
}

# check_image FILE SHA256 ROOT: test whether the image may be used; if not, set image_fault to the error message. The image and its folder
# must belong to a trusted user, and no other user may write to the image. If others can have replaced the image, its sha256 is compared.
# A match is recorded with device, inode, size and the times of the last change of content and inode, so that the sha256 is computed again
# only after a change. A file that was changed in the last two seconds is not recorded, because another change in the same tick of the file
# system's clock would not change the times.
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

# --- login/image.sh: provide the image as $cache/SHA256.sif, once for all runs. $image_from tells where a missing image is taken from.
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

# --- login/answer.sh: print the line that hpcdeploy parses; a login shell may print other lines before and after this one.
answer() {
  printf '\nHPCDEPLOY {"run": "%s", "job_id": "%s", "already": %s, "part": %s, "folder": %s}\n' "$run_id" "$1" "$2" "$chunk_size" "$(json "$run")" || true
}

# --- login/slurm/my_jobs.sh: list the user's jobs, one per line: SUBMITTED|JOB|STATE|NODES|REASON|COMMENT|NAME. The last three
# fields are free text, which may contain a bar. The arguments are options of squeue that select the jobs.
my_jobs() {
  SLURM_TIME_FORMAT=%s squeue --noheader --user="$(id -un)" --format='%V|%F|%T|%N|%r|%k|%j' "$@"
}

# Test whether the line $1 of squeue or sacct belongs to the job with the name $2. hpcdeploy writes this name into the comment too, because
# users and sites may change a job's name (scontrol update JobName, a job_submit plugin). Earlier versions of hpcdeploy gave all arrays of a
# run the same comment; there, a name of another chunk excludes the line.
belongs_to() {
  case $1 in
    *"|$2."[0-9]*) return 1 ;;
    *"|hpcdeploy:$2|"* | *"|$2") ;;
    *) return 1 ;;
  esac
}

# --- login/slurm/lookup.sh: find the run's job.

# Print the ids of this run's jobs that were submitted at $1 (seconds since 1970) or later, in the order of submission. Fail if Slurm cannot
# be queried.
look_up() {
  # Only the lines of this run are stored, because the user may have any number of other jobs.
  local found
  found=$(set -o pipefail && my_jobs --all --states=all | accepted "$1") || return
  # Query sacct too, because squeue soon forgets a job that ended. Without accounting, a job that was cancelled before it started may not be
  # found; a job that started has made the link $run/id itself. sacct is not queried by name, because the name may have been changed.
  if [ -z "$found" ]; then
    found=$(set -o pipefail &&
      SLURM_TIME_FORMAT=%s sacct --noheader --allocations --parsable2 --format=Submit,JobID,State,NodeList,Comment,JobName \
        --starttime="now-$(seconds_back "$1")" 2>/dev/null | accepted "$1") || no_accounting || return
  fi
  [ -z "$found" ] || sort -n <<<"$found" | cut -d ' ' -f 2 | uniq
}

# Read lines of squeue or sacct; print "SUBMITTED JOB" for each job of this run that Slurm accepted at $1 or later. Jobs that are FAILED and
# have no node (sacct: "None assigned") are not printed, because Slurm records rejected jobs in this way (job_allocate in
# src/slurmctld/job_mgr.c). An accepted job that cannot start stays PENDING, or becomes CANCELLED.
accepted() {
  local when job state nodes rest
  { grep -F -e "$run_id" || true; } | while IFS='|' read -r when job state nodes rest; do
    belongs_to "|$rest" "$run_id$chunk" || continue
    case $when in *[!0-9]*) ;; *) [ "${when:-0}" -ge "$1" ] || continue ;; esac
    case $state/$nodes in FAILED/ | FAILED/None\ assigned) continue ;; esac
    [ -z "$job" ] || printf '%s %s\n' "$when" "${job%%[_+]*}"
  done
}

# Print for how many seconds into the past sacct is queried: since the time $1, but at least an hour and at most 30 days.
seconds_back() {
  local back=$(($(date +%s) - $1))
  [ "$back" -le 2592000 ] || back=2592000
  [ "$back" -ge 3600 ] || back=3600
  echo "$back"
}

# Test whether sacct failed because the site has no accounting, and not because slurmdbd does not answer.
no_accounting() {
  command -v sacct >/dev/null || return 0
  case $(sacct --noheader 2>&1) in *"is disabled"*) ;; *) return 1 ;; esac
}

cancel_job() { scancel "$1"; }

# --- login/slurm/release.sh: print the release of Slurm that the command $1 belongs to, as a number: 2405 for 24.05, 0 if it is unknown.
slurm_release() {
  local version
  version=$("$1" --version 2>/dev/null) || version=""
  if [[ $version =~ ([0-9]+)\.([0-9]+) ]]; then
    echo "$((10#${BASH_REMATCH[1]} * 100 + 10#${BASH_REMATCH[2]}))"
  else
    echo 0
  fi
}

# --- login/slurm/check_job.sh: check, before the job is submitted, that Slurm would not accept a job that it can never start.

# Slurm 24.11 rejects a job that no node of the cluster can run. 22.05 and 26.05 accept such a job, and it stays in the queue (seen). In
# these releases only --test-only reports it. It creates no job (job_allocate, will_run, in src/slurmctld/job_mgr.c).
check_job() {
  local release output unavailable array=()
  release=$(slurm_release sbatch)
  [ "$release" -lt 2411 ] || [ "$release" -ge 2605 ] || return 0
  [ "$is_array" = no ] || array=(--array=0)
  output=$(cd -- "$run" && sbatch --test-only --chdir="$run" ${array[@]+"${array[@]}"} job.sh 2>&1) && return
  output=${output//$'\n'/; }
  case $output in *"node configuration is not available"*) ;; *) return 0 ;; esac
  # Reject the job only if all nodes are available, because Slurm prints the same message if suitable nodes are down, drained or reserved
  # now (job_start_data in src/slurmctld/job_scheduler.c).
  unavailable=$(unavailable_nodes) || unavailable="an unknown number of"
  [ "$unavailable" != 0 ] || stop 12 "Slurm rejects the job: $output"
  say "note: none of the nodes that are available now can run this job ($output); $unavailable nodes are down, drained or reserved. \
If it does not start once they are back, cancel it and request less"
}

# Print how many nodes accept no jobs now: of the job's partition if job.sh names one, else of the cluster. A state may be followed by a
# sign: ~ powered down, # powering up, - planned, + jobs on the node are completing (sinfo(1), NODE STATE CODES).
unavailable_nodes() {
  local partition
  partition=$(sed -nE 's/^#SBATCH --partition=([A-Za-z0-9_.,+-]+)$/\1/p' "$run/job.sh")
  sinfo --all --noheader --Node ${partition:+--partition="$partition"} --format='%N %T' |
    awk '$2 !~ /^(idle|mixed|allocated|completing|planned)[~#+-]*$/ && !seen[$1]++ { count++ } END { print count + 0 }'
}

# --- login/slurm/submit.sh: submit a job to Slurm, and parse the output of sbatch.
write_job() {
  local next
  # If the path of a log contains a backslash, Slurm removes the backslash and replaces no % in the path (sbatch(1), FILENAME PATTERN).
  case $run in *\\*) die 10 "the cluster's root contains a backslash, and Slurm would lose the logs; set another one" ;; esac
  declare -f "${job_functions[@]}" | write "$run/functions.sh"
  write_files
  for ((next = 0; next < ${#after[@]}; next += 3)); do await "${after[@]:next:3}"; done
  [ -z "$mpi" ] || check_mpi
  check_job
}

# Submit the job and print its id. Paths are passed as options, because sbatch splits values of #SBATCH lines in job.sh at blanks.
submit_job() {
  # A % in the path of the folder is doubled, because Slurm would replace it too (%j, %x).
  local output line logs=logs/$log_name patterns=${run//%/%%} options=() job_arguments=() wait_for=$dependency
  [ "$is_array" = no ] || array_options || return
  [ -z "$wait_for" ] || options+=(--dependency="$wait_for")
  output=$(cd -- "$run" && sbatch --parsable --chdir="$run" --open-mode=append ${options[@]+"${options[@]}"} \
    --output="$patterns/$logs.out" --error="$patterns/$logs.err" job.sh ${job_arguments[@]+"${job_arguments[@]}"}) || return
  # Search the line with the id, because some sites print their own messages even with --parsable. It is ID or ID;CLUSTER.
  while IFS= read -r line; do
    if [[ $line =~ ^([0-9]+)(\;[^[:space:]]+)?$ ]]; then
      printf '%s' "${BASH_REMATCH[1]}"
      return
    fi
  done <<<"$output"
  printf 'sbatch printed no job id, but: %s\n' "$output" >&2
  return 1
}

# Test whether the error of sbatch in the file $1 means that the job was rejected. After any other error slurmctld may have the job.
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

# Test whether sbatch could not connect to any slurmctld, so that none can have the job.
never_connected() { grep -q 'connect failure' -- "$1"; }

# --- login/job_link.sh: record the run's job as the target of the link $run/id. A link is used because only one process can create it, and
# never partly, also on network file systems and on a full disk (symlink(2)). A later array chunk has the link $run/id$chunk.

# Make the link to the first of the jobs "$@", unless the link exists, and cancel the other jobs. There are several jobs if two calls
# submitted at once, which is possible if the locks of a file system have effect on one machine only.
record_job() {
  local job
  ln -sT -- "$1" "$run/id$chunk" 2>/dev/null || true
  job_id=$(readlink -- "$run/id$chunk") || { job_id=$1 && say "the job id could not be recorded in $run; make room there"; }
  sync -- "$run" 2>/dev/null || true
  for job in "$@"; do
    [ "$job" = "$job_id" ] || { say "the run has job $job_id; cancelling the duplicate $job" && cancel_job "$job" >&2; } || true
  done
}

# Print the time in the file $1, in seconds since 1970; 0 if there is no file, or if a crash left it empty.
time_in() {
  local text=""
  [ ! -s "$1" ] || read -r text <"$1" || true
  case $text in '' | *[!0-9]*) echo 0 ;; *) echo "$text" ;; esac
}

# Set jobs to the ids of the scheduler's jobs with the run's name. Jobs that were submitted more than ten minutes before the first attempt
# are ignored, because they belong to an older run with the same id. Ten minutes are enough for clocks that differ: Slurm's daemons reject
# messages if the clocks differ by more than five minutes (munge(7), TTL).
query_jobs() {
  local found since
  since=$(($(time_in "$run/submitting$chunk") - 600))
  found=$(look_up "$since") || return
  read -r -d '' -a jobs <<<"$found" || true
}

# Query several times, because a scheduler may show a job only a few seconds after it accepted the job. If a submission had no answer in
# the last minute, query for longer, because the request may still reach the scheduler.
query_jobs_with_retries() {
  local pause pauses=(0 2 3)
  [ $(($(date +%s) - $(time_in "$run/unanswered$chunk"))) -ge 60 ] || pauses+=(5 10 10 15 15)
  for pause in "${pauses[@]}"; do
    sleep "$pause"
    query_jobs || return
    [ "${#jobs[@]}" = 0 ] || return 0
  done
}

# --- login/submit.sh: submit the run exactly once, however often this script is run. docs/architecture.md explains each step.
chunks=("")
chunk_size=0
# A site limits the number of tasks in an array, so a large run is split into several arrays, called chunks. Each chunk has its own job, link
# and files. Their names end with $chunk: a dot and the number of the chunk's first task. It is empty for the first chunk, which usually is
# the only one.
[ "$is_array" = no ] || choose_chunks
chunk=""
job_ids=""

# End with the exit status $1. If earlier chunks are submitted already, use 13 instead (unknown), because the run is submitted in part.
stop() {
  local code=$1
  shift
  [ -z "$chunk" ] || { code=13 && set -- "$* (tasks 0 to $((${chunk#.} - 1)) are submitted)"; }
  die "$code" "$@"
}

# Test whether the scheduler lost the run's job: the scheduler answers, does not know the job, and no task has recorded anything. A slurmctld
# that crashes forgets the jobs of its last seconds, and reuses their ids (seen with Slurm 24.11).
is_forgotten() {
  [ ! -e "$run/cancelled" ] && [ -z "$(ls -A -- "$run/tasks")" ] && query_jobs && [ "${#jobs[@]}" = 0 ]
}

# End if the run was cancelled, and cancel the job $1 if there is one. login/revoke.sh first writes the file "cancelled", and then looks for a
# job. So a call that does not see this file before it submits sees it afterwards.
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
  ! declare -F test_image >/dev/null || test_image
  for tree in ${trees[@]+"${trees[@]}"}; do unpack "$tree"; done
  # A trap instead of "||", because a command before "||" would continue after a failure (bash(1), set -e).
  trap cannot_write EXIT
  write_job
}

# Submit this chunk, unless it is submitted already, and set job_id to the id of its job.
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

  # From here on a failed command does not end the script, because each exit must report what is known about the job.
  set +e
  job_id=$(submit_job 2>"$run/submit.err")
  code=$?
  cat -- "$run/submit.err" >&2
  if [ "$code" = 0 ]; then
    # The request of an earlier call may have arrived after all.
    [ "$earlier" = no ] || query_jobs
    [ "${#jobs[@]}" != 0 ] || jobs=("$job_id")
  # Query the scheduler before a failure is reported, because it may have accepted the job although its answer was lost.
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
# hpcdeploy itself prints this from the answer, also after a lost connection.
[[ $arguments == *" bring "* ]] ||
  if "$already"; then say "run $run_id was submitted before"; else say "submitted as job $job_ids"; fi
answer "$job_ids" "$already"
}
# bash reads main completely before it runs main. So a script that was cut off runs no part of main.
main "$@" </dev/null
