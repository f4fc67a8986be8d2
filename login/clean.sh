# --- login/clean.sh: remove the folders of finished runs ($run_ids), and staged files that no run needs ($staged). With $listing, only list
# them. A run is kept if its job is in a scheduler's queue, or if a file of another run names it. A staged file is kept if a file of another
# run names it. Files and folders that hpcdeploy did not make are kept.
export LC_ALL=C
shopt -s nullglob
case $root in /*) ;; *) die 10 "the cluster's root is $root, which is not an absolute path; set root in the cluster's settings" ;; esac
command -v flock >/dev/null || die 10 "flock is not on this machine; it comes with util-linux"
cutoff=$(($(date +%s) - older_than))

# Test whether $1 is a folder (no link) that belongs to this user, and to which only this user can write.
is_own() { [ -d "$1" ] && [ ! -L "$1" ] && [ -O "$1" ] && [ -z "$(find "$1" -maxdepth 0 -perm /022)" ]; }

# Test whether $1 is a run's folder, by files and folders that every release of hpcdeploy makes.
is_run() { is_own "$1" && [ -d "$1/tasks" ] && [ -d "$1/logs" ] && { [ -L "$1/id" ] || [ -f "$1/cancelled" ]; }; }

queue() {
  local name
  for name in "${schedulers[@]}"; do
    case $name in
      slurm) squeue --all --noheader --user="$(id -un)" --format=%j || return ;;
      htcondor) condor_q -nobatch -constraint 'HpcdeployRun =!= undefined' -autoformat HpcdeployRun || return ;;
    esac
  done
}

# Print the words in the scripts of all runs except the candidates for removal. Among them are the ids of runs that these runs wait for or
# read, and the sha256 of their staged files.
words_of_others() {
  find runs -mindepth 2 -maxdepth 2 -type f \( -name '*.sh' -o -name 'job.*' \) -print0 |
    while IFS= read -r -d '' file; do
      run=${file#runs/}
      [ -n "${candidate[${run%%/*}]-}" ] || printf '%s\0' "$file"
    done | xargs -0 -r cat -- | tr -cs 'A-Za-z0-9._-' '\n' | sort -u
}
read_words() {
  local words word
  words=$(words_of_others) || return
  named=()
  while IFS= read -r word; do
    [ -z "$word" ] || named[$word]=yes
    [[ ${#word} -lt 64 || ! $word =~ [0-9a-f]{64} ]] || named[${BASH_REMATCH[0]}]=yes
  done <<<"$words"
}

# Test whether a run may be in submission: a run that has no job yet, and whose folder is locked, or was changed in the last two days.
is_submitting() {
  local folder lock
  for folder in runs/*/; do
    if [ -L "${folder}id" ] || [ -e "${folder}cancelled" ]; then continue; fi
    [ -z "$(find "$folder" -maxdepth 1 -mmin -2880 -print -quit)" ] || return 0
    [ -f "${folder}lock" ] && [ ! -L "${folder}lock" ] || continue
    { exec {lock}>>"${folder}lock"; } 2>/dev/null || return 0
    flock --nonblock "$lock" || return 0
    exec {lock}>&-
  done
  return 1
}

# Remove the folder or file $1; links are removed, not their targets. Folders that a program made read-only are made writable first.
remove_tree() {
  rm -rf --one-file-system -- "$1" 2>/dev/null && return
  find "$1" -xdev -type d ! -perm -u=rwx -exec chmod u+rwx -- {} + 2>/dev/null || true
  rm -rf --one-file-system -- "$1"
}

size_of() { { du -skx -- "$1" 2>/dev/null || echo 0; } | { read -r size _ && printf '%s' "$size"; }; }

# Finish what an interrupted call left. Runs' folders ".removing.*" and staged files "*.removed" are removed, because the call had decided to
# remove them. Staged files "*.removing" are restored, because the call had not decided yet.
finish_earlier() {
  local path name
  for path in runs/.removing.* code/.*.removed inputs/.*.removed; do remove_tree "$path" || true; done
  for path in code/.*.removing inputs/.*.removing; do restore "$path"; done
}
restore() {
  local name=${1##*/.}
  name=${1%%/*}/${name%.removing}
  if [ -e "$name" ]; then remove_tree "$1" || true; else mv -T -- "$1" "$name"; fi
}

# Remove or list the runs. A run that is kept is no candidate any more, so that its staged files are kept too.
clean_runs() {
  local id size
  for id in ${run_ids[@]+"${run_ids[@]}"}; do
    if [ ! -e "runs/$id" ] && [ ! -L "runs/$id" ]; then
      echo "gone 0 $id"
    elif [ -n "${queued[$id]-}" ]; then
      keep queued "$id"
    elif ! is_run "runs/$id"; then
      keep foreign "$id"
    elif [ -n "${named[$id]-}" ]; then
      keep named "$id"
    else
      size=$(size_of "runs/$id")
      if [ "$listing" = yes ]; then
        echo "free $size $id"
      elif mv -T -- "runs/$id" "runs/.removing.$id" && remove_tree "runs/.removing.$id"; then
        echo "removed $size $id"
      else
        echo "failed $size $id"
      fi
    fi
  done
}

keep() {
  unset "candidate[$2]"
  echo "$1 0 $2"
}

# List complete and incomplete staged files that have not changed since the cutoff, except staged files that a remaining run names.
old_staged() {
  local folder path name
  for folder in code inputs; do
    is_own "$folder" || continue
    find "$folder" -mindepth 1 -maxdepth 1 \( -type f -o -type d \) -user "$EUID" ! -newermt "@$cutoff" -regextype posix-extended \
      -regex "$folder/([0-9a-f]{64}(\.tar|\.archive)?|\.[0-9a-f]{64}(\.[0-9]+)?\.parcel)" -print0
  done | while IFS= read -r -d '' path; do
    name=${path#*/}
    name=${name#.}
    [ -n "${named[${name:0:64}]-}" ] || printf '%s\n' "$path"
  done
}

# Remove or list the staged files. A submission first tests whether a staged file exists, and writes its name into a script later. So each file
# is renamed first. It is restored if meanwhile a run has appeared that names it, or that is in submission and may name it soon.
clean_staged() {
  local path name size moved=() busy=no
  if is_submitting || ! read_words; then
    echo "busy 0 -"
    return
  fi
  if [ "$listing" = yes ]; then
    old_staged | while IFS= read -r path; do echo "free $(size_of "$path") $path"; done
    return
  fi
  while IFS= read -r path; do
    [ -n "$path" ] && [ -n "${wanted[$path]-}" ] || continue
    name=${path#*/}
    case $name in
      .*) size=$(size_of "$path") && rm -f -- "$path" && echo "removed $size $path" ;;
      *) mv -T -- "$path" "${path%%/*}/.$name.removing" && moved+=("$path") ;;
    esac
  done <<<"$(old_staged)"
  if is_submitting || ! read_words; then busy=yes; fi
  for path in ${moved[@]+"${moved[@]}"}; do
    name=${path#*/}
    if [ "$busy" = yes ] || [ -n "${named[${name:0:64}]-}" ]; then
      restore "${path%%/*}/.$name.removing"
      continue
    fi
    size=$(size_of "${path%%/*}/.$name.removing")
    if mv -T -- "${path%%/*}/.$name.removing" "${path%%/*}/.$name.removed" && remove_tree "${path%%/*}/.$name.removed"; then
      [ -e "$path" ] || rm -f -- "${path%%/*}/.$name.count"
      echo "removed $size $path"
    else
      echo "failed $size $path"
    fi
  done
}

declare -A candidate=() queued=() named=() wanted=()
for path in ${staged[@]+"${staged[@]}"}; do wanted[$path]=yes; done
if [ -d "$root" ]; then
  [ -n "$(find -H "$root" -maxdepth 0 \( -user "$EUID" -o -user 0 \) \( ! -perm /022 -o -perm -1000 \))" ] ||
    die 10 "others may replace files in $root; run 'chmod go-w $root', or set root in the cluster's settings to a folder of your own"
  cd -P -- "$root" || die 10 "cannot enter $root"
fi
if [ -d "$root" ] && [ -d runs ]; then
  is_own runs || die 10 "$root/runs is a link, not yours, or others may write to it; run 'chmod go-w $root/runs' if it is yours"
  found=$(queue) || die 13 "cannot query the scheduler for the jobs in its queue; nothing was removed"
  while IFS= read -r name; do
    [ -z "$name" ] || { queued[$name]=yes && queued[${name%.*}]=yes; }
  done <<<"$found"
  for id in ${run_ids[@]+"${run_ids[@]}"}; do [ -n "${queued[$id]-}" ] || candidate[$id]=yes; done
  [ "$listing" = yes ] || finish_earlier
  read_words || die 13 "the scripts of the runs in $root/runs cannot be read; nothing was removed. Run this again"
  section runs clean_runs
  section staged clean_staged
else
  section runs true
  section staged true
fi
