#!/bin/bash
# A stand-in for Spack, for tests: it is not Spack and installs nothing. It writes down each call (the words, and the names of
# the variables whose names begin with CACHE_, never a value), checks that what a call needs is there, and leaves what the
# real one would leave: packages in the install tree, a view of links, the text of an activation. It knows the calls of
# defs/spack.def only, and refuses every other.
set -euo pipefail

environment=/opt/spack-environment
record=$environment/recorded-calls
tree=""
words=("$@")
while [ $# -gt 0 ]; do
    case $1 in
        -c)
            case $2 in config:install_tree:root:*) tree=${2##*:} ;; esac
            shift 2 ;;
        -e) [ -f "$2/spack.yaml" ] || exit 3; shift 2 ;;
        *) break ;;
    esac
done

refuse() {
    echo "the stand-in for spack refuses '${words[*]}': $1" >&2
    exit 3
}

note() {
    names=$(compgen -e | grep '^CACHE_' | tr '\n' ' ' || true)
    printf '%s%s\n' "${words[*]}" "${names:+ [with ${names% }]}" >> "$record"
}

case "$*" in
    --version) echo "0 (a stand-in that records its calls)" ;;
    "repo create "*)
        mkdir -p "$3/spack_repo/${4//.//}/packages"
        printf 'repo:\n  namespace: %s\n  api: v2.0\n' "$4" > "$3/spack_repo/${4//.//}/repo.yaml" ;;
    "repo add "*)
        [ -f "$3/repo.yaml" ] || refuse "$3 is no repository"
        find "$3/packages" -type f | sort >> "$environment/recorded-recipes" ;;
    "env view enable /opt/view") ;;
    concretize) [ ! -e "$environment/spack.lock" ] || refuse "there is a lock"; echo '{}' > "$environment/spack.lock" ;;
    "install --fail-fast"*)
        [ -f "$environment/spack.lock" ] || refuse "nothing is concretized"
        [ -n "$tree" ] || refuse "the install tree is not /opt/software"
        demo=$tree/linux-x86_64_v3/demo-1.0-abcdef
        mkdir -p "$demo/bin" /opt/._view/abcdef/bin
        printf '#!/bin/sh\necho "demo 1.0 in %s"\n' "$demo" > "$demo/bin/demo"
        chmod 0755 "$demo/bin/demo"
        ln -s "$demo/bin/demo" /opt/._view/abcdef/bin/demo
        ln -s /opt/._view/abcdef /opt/view ;;
    "buildcache push --update-index "*) [ -x /opt/view/bin/demo ] || refuse "nothing is installed" ;;
    "gc -y") ;;
    "env activate --sh -d .")
        [ "$tree" = /opt/software ] || refuse "its database is in the install tree"
        echo "export SPACK_ENV=$PWD;"
        echo "export PATH=/opt/view/bin:$PATH;"
        echo "export MANPATH=/opt/view/share/man:${MANPATH:-}:;"
        echo "export DEMO_DATA='it''s \$here';"
        echo "alias despacktivate='spack env deactivate';" ;;
    *) refuse "it is not a call that it knows" ;;
esac
note
