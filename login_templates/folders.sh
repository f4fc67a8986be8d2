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
