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
