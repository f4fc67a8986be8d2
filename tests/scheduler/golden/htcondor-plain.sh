#!/bin/bash
# Submit run hello-0123456789 to htcondor. Written by hpcdeploy 0.1.0.
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
scheduler=htcondor
submit_command=condor_submit
lock_timeout=''
sha256=abababababababababababababababababababababababababababababababab
image_from=registry
image_source=''
cache_limit=0
image_cache_owners=()
image_size=1
can_upload=no
reference=oras://localhost:5000/train@sha256:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd
registry_host=''
registry_port=443
apptainer=apptainer
pull_options=(--disable-cache --no-https)
has_uploads=no
trees=()
after=()
is_array=no
container=universe
tasks=1
task_folder=''
commas_allowed=yes
or_a_comma=''
has_inputs=no
sends_image=yes
notes_begin=yes
set_paths() {
  root="${SCRATCH:?is not set on this machine, but the path needs it: set it, or name another path}"/hpcdeploy
  cache="${SCRATCH:?is not set on this machine, but the path needs it: set it, or name another path}"/hpcdeploy/images
  tmp="${SCRATCH:?is not set on this machine, but the path needs it: set it, or name another path}"/hpcdeploy/tmp
}
set_job_paths() {
  workdir=''
}
write_files() {
  write "$run/program.sh" <<'HPCDEPLOY_END_0123456789'
#!/bin/sh
# Run hello-0123456789, written by hpcdeploy 0.1.0. This runs inside the container, once for each task; its arguments are the
# task's number and the job's id.
# The command and its variables are quoted here, and no other shell interprets them.
# Record that the program started: HTCondor transfers this file into the run's folder (job.sub).
true >.hpcdeploy-begun
export HPCDEPLOY_RUN=hello-0123456789
export HPCDEPLOY_TASK="$1"
export HPCDEPLOY_JOB_ID="$2"
export HPCDEPLOY_RESTART="${HPCDEPLOY_RESTART:-0}"
export HPCDEPLOY_IMAGE_SHA256=abababababababababababababababababababababababababababababababab
# Without a command, run the image's own run script.
set -- /.singularity.d/runscript
# --- login/job/beside.sh: run the program as a child process, forward signals to it, and set code to its exit code.
"$@" &
child=$!
for signal in HUP INT QUIT TERM USR1 USR2; do
  # shellcheck disable=SC2064
  trap "kill -$signal $child 2>/dev/null" "$signal"
done
code=0
wait "$child" || code=$?
while kill -0 "$child" 2>/dev/null; do
  code=0
  wait "$child" || code=$?
done
# --- login/job/keep_back.sh: move files that HTCondor cannot transfer into a folder, because HTCondor transfers every new file in the working
# folder, but no folders. HTCondor would hold the job for a file that cannot be read (hold code 12, subcode 13), and a named pipe would block
# the transfer.
for path in ./* ./.[!.]* ./..?*; do
  if [ -p "$path" ]; then
    why='is a named pipe'
  elif [ -f "$path" ] && [ ! -r "$path" ]; then
    why='may not be read'
  else
    continue
  fi
  mkdir -p .hpcdeploy-kept && mv -f "$path" .hpcdeploy-kept/ && echo "$path $why: it is left out of the outputs" >&2
done
# End a second later if the output is a pipe. HTCondor reads the pipe, and loses up to 64 KiB that it has not read when the job ends (seen with
# 23.9 on a busy machine).
if [ -p /dev/stdout ] || [ -p /dev/stderr ]; then sleep 1; fi
exit "$code"
HPCDEPLOY_END_0123456789
}
submit_description() {
  cat <<'HPCDEPLOY_END_0123456789'
# Run hello-0123456789, written by hpcdeploy 0.1.0. The lines above are the paths of the run, its work and its image.
universe                = container
container_image         = $(image_file)
# No absolute path: HTCondor would expect that program in the image (condor_submit(1), container universe).
executable              = program.sh
arguments               = $(Process) $(Cluster)
# HTCondor inserts the number of earlier starts when it has found a worker.
environment             = "HPCDEPLOY_RESTART=$$([ifThenElse(isUndefined(NumJobStarts),0,NumJobStarts)])"
initialdir              = $(work_folder)
log                     = $(run_folder)/events.log
output                  = $(run_folder)/logs/$(Process).out
error                   = $(run_folder)/logs/$(Process).err
stream_output           = true
stream_error            = true
should_transfer_files   = YES
when_to_transfer_output = ON_EXIT
notification            = never
+HpcdeployRun = "hello-0123456789"
batch_name = hello-0123456789
request_cpus = 1
periodic_release = member(HoldReasonCode, {13, 19, 45, 48}) && NumHolds <= 4 && time() - EnteredCurrentStatus >= 60 * NumHolds * NumHolds
queue 1
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

# --- login/open_lock.sh: open the lock file $1, and set opened to its file descriptor. If others can write to the folder, they can put a
# link there. This does no harm, because nothing is written to the file. In a folder for a group, the group may use the lock.
# shellcheck disable=SC2034
open_lock() {
  local group_too=077
  [ $((0$(stat -Lc %a -- "${1%/*}") & 020)) = 0 ] || group_too=007
  [ -e "$1" ] || (umask "$group_too" && : >>"$1") 2>/dev/null || true
  { exec {opened}>>"$1"; } 2>/dev/null || exec {opened}<"$1"
}

# --- login/make_temporary.sh: make_temporary FOLDER NAME makes the private folder FOLDER/NAME-XXXXXXXX, with an unpredictable name, and sets
# temporary to its path. FOLDER may be writable for all users, like /tmp, if it has the sticky bit, because other users then cannot rename the
# new folder (rename(2), EPERM).
make_temporary() {
  local mode owner remedy="set tmp in the cluster's settings to a folder of your own"
  read -r mode owner < <(stat -Lc '%f %u' -- "$1") || die 10 "cannot look at $1; $remedy"
  case $owner in
    "$EUID" | 0) ;;
    *) die 10 "$1, the folder for temporary files, belongs to $(owner_of "$1"), who could replace its files; $remedy" ;;
  esac
  [ $((16#$mode & 022)) = 0 ] || [ $((16#$mode & 01000)) != 0 ] || chmod +t -- "$1" 2>/dev/null ||
    die 10 "others may write to $1, and replace its files; run 'chmod +t $1', or $remedy"
  { temporary=$(mktemp -d -- "$1/$2-XXXXXXXX") && is_private "$temporary"; } ||
    die 10 "cannot make a folder in $1; make room there (a full disk, or your quota)"
}

# --- login/image_mode.sh: print the mode for an image in the folder $1: 0640 if the folder is for a group (setgid, readable), else 0600.
image_mode() { [ $((0$(stat -Lc %a -- "$1") & 02050)) = $((02050)) ] && echo 0640 || echo 0600; }

# --- login/pull.sh: pull the image from a registry. If hpcdeploy can upload the image instead ($can_upload), a failed pull is no error.
cannot_pull() {
  local code=$1
  shift
  if [ "$can_upload" = yes ]; then say "$*"; else say "error: $*"; fi
  return "$code"
}

# Test whether the registry can be reached. This is done before a pull, because behind a firewall a pull may take minutes to fail. With a proxy
# there is no test, because only the proxy connects to the registry.
registry_answers() {
  [ -z "${https_proxy-}${HTTPS_PROXY-}${http_proxy-}${HTTP_PROXY-}${all_proxy-}${ALL_PROXY-}" ] || return 0
  timeout 10 bash -c "exec 3<>/dev/tcp/$registry_host/$registry_port" 2>/dev/null
}

# Pull the image under a lock, so that it is pulled only once if several runs need it.
pull_once() {
  local image_lock code
  open_lock "$cache/.$sha256.lock" || die 10 "cannot open $cache/.$sha256.lock, the lock for pulling the image"
  image_lock=$opened
  flock --nonblock "$image_lock" || { say "another run is pulling the image; waiting for it"; flock "$image_lock"; }
  if [ -e "$image" ]; then
    check_image "$image" "$sha256" "$root" || die 11 "$image_fault"
  else
    pull_image || {
      code=$?
      if [ "$can_upload" = no ]; then set +e; exit "$code"; fi
      say "so hpcdeploy must upload the image"
    }
  fi
  exec {image_lock}>&-
}

# Pull the image. Each failure is handled here, because set -e has no effect in a function that is called before "||".
pull_image() {
  local part temporary watcher code=0
  command -v "$apptainer" >/dev/null || {
    cannot_pull 10 "$apptainer is not on this machine's PATH; add a line that provides it (module load ...) to the cluster's setup"
    return
  }
  [ "$can_upload" = no ] || registry_answers || {
    cannot_pull 11 "this machine does not reach $registry_host port $registry_port"
    return
  }
  # Remove the files of pulls that were killed.
  for part in "$cache/.$sha256".*part; do [ ! -O "$part" ] || rm -f -- "$part"; done
  find "$tmp" -mindepth 1 -maxdepth 1 -name 'pull-????????' -user "$EUID" -mmin +1440 -exec rm -rf -- {} + 2>/dev/null || true
  # Keep Apptainer's cache and temporary files out of $HOME, whose quota they would fill ($HOME/.apptainer/cache).
  make_temporary "$tmp" pull
  mkdir -- "$temporary/cache" || die 10 "cannot make a folder in $tmp; make room there (a full disk, or your quota)"
  # The name of the file is unpredictable, because others who may write to the folder could put a link at a known name.
  part=$(mktemp -u -- "$cache/.$sha256.XXXXXXXXXX.part")
  say "pulling the image $reference"
  # Show the progress. The trap also ends sleep, which would keep the connection open.
  {
    trap 'kill "$!"; exit' TERM
    while sleep 5 & wait "$!"; do
      say "  $(($(stat -c %s -- "$part" 2>/dev/null || echo 0) / 1000000)) of $((image_size / 1000000)) MB"
    done
  } {run_lock}>&- {image_lock}>&- &
  watcher=$!
  APPTAINER_CACHEDIR=$temporary/cache APPTAINER_TMPDIR=$temporary TMPDIR=$temporary \
    "$apptainer" pull "${pull_options[@]}" "$part" "$reference" >&2 || code=$?
  kill "$watcher" 2>/dev/null || true
  wait "$watcher" 2>/dev/null || true
  rm -rf -- "$temporary"
  if [ "$code" != 0 ]; then
    rm -f -- "$part"
    cannot_pull 11 "the image could not be pulled (exit status $code); Apptainer's message is above." \
      "If the registry needs a password, run on this machine: $apptainer registry login"
    return
  fi
  if [ "$(sha256sum <"$part")" != "$sha256  -" ]; then
    rm -f -- "$part"
    die 11 "the registry sent another image: its sha256 is not $sha256"
  fi
  { chmod "$(image_mode "$cache")" -- "$part" && mv -f -- "$part" "$image"; } || die 11 "cannot write $image"
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

# --- login/htcondor/lookup.sh: find the run's job.

# Print the ids of the clusters with this run's name that were submitted at $1 (seconds since 1970) or later, in the order of
# submission. Fail if HTCondor cannot be queried.
look_up() {
  # The job of a run that waits for others is DAGMan, not the job that DAGMan submits.
  local found log=events.log ours="HpcdeployRun == \"$run_id\" && QDate >= $1 && DAGManJobId =?= undefined"
  [ ! -e "$run/job.dag" ] || log=job.dag.dagman.log
  # Look into the job's event log first: the schedd records a submission there, as event 000, or as 035 if the procs are created later ("Job
  # Event Log Codes").
  if [ -s "$run/$log" ]; then
    found=$(sed -nE 's/^(000|035) \(0*([0-9]+)\..*/\2/p' "$run/$log" | uniq)
    [ -z "$found" ] || { printf '%s\n' "$found" && return; }
  fi
  found=$(condor_q -nobatch -constraint "$ours" -autoformat QDate ClusterId) || return
  # If condor_history fails, it is called again, because it fails while the schedd rotates a history file ("Error opening history file").
  [ -n "$found" ] || found=$(left_queue "$1" "$ours") || found=$(left_queue "$1" "$ours") || return
  sort -n <<<"$found" | cut -d ' ' -f 2 | uniq
}

# Print the run's jobs in the history. It is read backwards in time, and -since ends the reading at the time $1.
left_queue() { condor_history -since "EnteredCurrentStatus < $1" -constraint "$2" -autoformat QDate ClusterId; }

cancel_job() { condor_rm "$1"; }

# --- login/htcondor/submit.sh: submit a job to HTCondor, and parse the output of condor_submit.
write_job() {
  local file split=no
  work=${workdir:-$run/output}
  case $run$work in *\$\(* | *\"*) split=yes ;; *,*) [ "$commas_allowed" = yes ] || split=yes ;; esac
  [ "$split" = no ] || die 10 "the path $run or $work contains \$( or a double quote$or_a_comma, which a submit description cannot contain"
  write_files
  for file in program.sh job.sh inside.sh wait.sh node.sh remove.sh; do [ ! -e "$run/$file" ] || chmod 0755 "$run/$file"; done
  [ "$container" != apptainer ] || write_container_files
  # Make the tasks' folders with few commands instead of a loop, because there may be thousands.
  [ -z "$task_folder" ] || (cd -- "$run/output" && seq 0 $((tasks - 1)) | xargs mkdir -p)
  [ "$has_inputs" = no ] || link_inputs
  [ "$sends_image" = no ] || use_own_copy
  write_submit_description
  [ "${#after[@]}" = 0 ] || write_dag
}

write_submit_description() {
  local macros=(run_folder "$run" work_folder "$work$task_folder")
  [ "$sends_image" = no ] || macros+=(image_file "$image")
  {
    printf '%s = %s\n' "${macros[@]}"
    # The file notes-begin tells the follow script that each task of this run records the start of its program (TASK.begun). This needs a remap,
    # which cannot contain the characters ; = \ in a path.
    case $notes_begin:$run in
      no:* | *[\;=\\]*) ;;
      *)
        : >"$run/notes-begin"
        printf '%s\n' "transfer_output_remaps = \".hpcdeploy-begun=$run/tasks/\$(Process).begun\""
        ;;
    esac
    submit_description
  } | write "$run/job.sub"
}

# Submit the job and print its cluster id. The output of condor_submit -terse is "12.0 - 12.9".
submit_job() {
  local output line file=job.sub
  [ "${#after[@]}" = 0 ] || file=job.dag.condor.sub
  output=$(cd "$run" && condor_submit -terse "$file") || {
    # Repeat standard output as error output, because condor_submit reports on it that it cannot get credentials.
    local code=$?
    printf '%s\n' "$output" >&2
    return "$code"
  }
  while IFS= read -r line; do
    if [[ $line =~ ^([0-9]+)\.[0-9]+\ -\ [0-9]+\.[0-9]+$ ]]; then
      printf '%s' "${BASH_REMATCH[1]}"
      return
    fi
  done <<<"$output"
  printf 'condor_submit printed no job id, but: %s\n' "$output" >&2
  return 1
}

# Test whether the error of condor_submit in the file $1 means that the job was rejected. After any other error the schedd may have the job.
is_refusal() {
  local text
  text=$(<"$1")
  case $text in
    # These errors occur before condor_submit connects to the schedd: "Failed to process job credential requests", "please visit ..." to log in.
    *"job credential requests"* | *"lease visit"*) return 0 ;;
    *"onnect"* | *"timed out"* | *"printed no job id"* | *"ommit"*) return 1 ;;
    *"ERROR"* | *"not found"*) return 0 ;;
    *) return 1 ;;
  esac
}

# Test whether the schedd could not be reached, so that it cannot have the job.
never_connected() { grep -q 'ailed to connect' -- "$1"; }

# --- login/htcondor/own_copy.sh: use a copy of the image in the root, which only this user can change, if others can replace the image. A check
# at submission would not suffice, because HTCondor reads the image only when it has found a worker, possibly hours later.
use_own_copy() {
  local own_image=$root/images/$sha256.sif copy
  if [ ! -e "$image" ] || [ "$image" = "$own_image" ] || ! others_can_change "$image"; then return 0; fi
  mkdir -p -- "$root/images" || return 0
  is_private "$root/images" || return 0
  if [ ! -e "$own_image" ]; then
    { copy=$(mktemp -- "$root/images/.$sha256.XXXXXXXXXX.part") && cp --reflink=auto -- "$image" "$copy"; } ||
      die 10 "cannot copy the image to $root/images; make room there (a full disk, or your quota)"
    [ "$(sha256sum <"$copy")" = "$sha256  -" ] || { rm -f -- "$copy" && die 11 "the image $image changed while it was copied"; }
    mv -f -- "$copy" "$own_image"
  fi
  image=$own_image
}

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
