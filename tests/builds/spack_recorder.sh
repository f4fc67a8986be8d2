#!/bin/bash
# A stand-in for Spack, for tests: it is not Spack and installs nothing. It writes down each call (the words, and the names of
# the variables whose names begin with CACHE_, never a value), checks that what a call needs is there, and leaves what the
# real one would leave: packages in the install tree, views of links, the text of an activation. It knows the calls of
# defs/spack.def only, and refuses every other. Of YAML it knows 'view: false' in the manifest, and 'root: /PATH' in any file.
set -euo pipefail

environment=$PWD
record=/opt/spack-environment/recorded-calls
tree=""
view=/opt/view
words=("$@")
while [ $# -gt 0 ]; do
    case $1 in
        -c)
            case $2 in
                config:install_tree:root:*) tree=${2##*:} ;;
                view:default:root:*) [ "${2##*:}" = "$view" ] || exit 3 ;;
            esac
            shift 2 ;;
        -e) [ -f "$2/spack.yaml" ] || exit 3; environment=$2; shift 2 ;;
        *) break ;;
    esac
done
if grep -q '^  view: false$' "$environment/spack.yaml" 2> /dev/null; then
    view=""
fi

make_view() {
    folder=$(dirname "$1")/._$(basename "$1")/abcdef
    mkdir -p "$folder/bin"
    ln -s "$demo/bin/demo" "$folder/bin/demo"
    ln -s "$folder" "$1"
}

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
        find "$3/packages" -type f | sort >> /opt/spack-environment/recorded-recipes ;;
    "env view enable /opt/view") ;;
    concretize) [ ! -e "$environment/spack.lock" ] || refuse "there is a lock"; echo '{}' > "$environment/spack.lock" ;;
    "install --fail-fast"*)
        [ -f "$environment/spack.lock" ] || refuse "nothing is concretized"
        [ -n "$tree" ] || refuse "the install tree is not /opt/software"
        demo=$tree/linux-x86_64_v3/demo-1.0-abcdef
        mkdir -p "$demo/bin"
        printf '#!/bin/sh\necho "demo 1.0 in %s"\n' "$demo" > "$demo/bin/demo"
        chmod 0755 "$demo/bin/demo"
        [ -z "$view" ] || make_view "$view"
        grep -rhoE 'root: /[^ }]+' /opt/spack-environment --include='*.yaml' | cut -c7- | while IFS= read -r root; do
            make_view "$root"
        done || true ;;
    "buildcache push --update-index "*) [ -x /opt/view/bin/demo ] || refuse "nothing is installed" ;;
    "gc -y") ;;
    "env activate --sh -d .")
        [ "$tree" = /opt/software ] || refuse "its database is in the install tree"
        echo "export SPACK_ENV=$PWD;"
        [ -z "$view" ] || echo "export PATH=$view/bin:$PATH;"
        echo "export MANPATH=/opt/view/share/man:${MANPATH:-}:;"
        echo "export DEMO_DATA='it''s \$here';"
        echo "alias despacktivate='spack env deactivate';" ;;
    *) refuse "it is not a call that it knows" ;;
esac
note
