cache=[= cache =]
tmp=[= tmp =]
absolute() { case $2 in /*) ;; *) die 10 "the cluster's $1 is $2, which is no absolute path; set $1 in the cluster's settings" ;; esac; }
absolute root "$root"
absolute image-cache "$cache"
absolute tmp "$tmp"
case $root$tmp in *[$'\n']*) die 10 "the cluster's root or tmp holds a line break; set another one" ;; esac
case $cache in *[$'\n"']* | *\$\(*) die 10 "the cluster's image-cache holds a line break, a double quote or \$(; set another one" ;; esac
# A folder that is made here is nobody's code: where it lies in a project, git and hpcdeploy pass it over.
[ -e "$root" ] || { mkdir -p -- "$root" && printf '*\n' >"$root/.gitignore"; } || true

[% include "login_templates/owner_of.sh" %]

# keep_private FOLDER...: what lies in the root is ours alone: scripts that jobs run, uploads, results. Where others may write to one of these folders
# that is taken from them; the root itself may be one that an administrator made.
keep_private() {
  local mode owner folder
  while read -r mode owner folder; do
    case $owner/$folder in
      "$EUID"/* | 0/"$root") ;;
      *) die 10 "$folder belongs to $(owner_of "$folder"), who could change what lies there; set root in the cluster's settings to a folder of your own" ;;
    esac
    [ $((16#$mode & 022)) = 0 ] || [ $((16#$mode & 01000)) != 0 ] || chmod go-w -- "$folder" 2>/dev/null ||
      die 10 "others may write to $folder; run 'chmod go-w $folder', or set root in the cluster's settings to a folder of your own"
  done < <(stat -Lc '%f %u %n' -- "$@" 2>/dev/null)
}
keep_private "$root"
