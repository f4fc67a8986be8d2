# --- login/build_messages.sh: set strict mode and private files, and define messages.
set -euo pipefail
umask 077
say() { printf '%s\n' "$*" >&2 || true; }
# End with the error message $2 and exit status $1. set +e is needed because a login shell runs ~/.bash_logout at its exit: with -e, a command
# that fails there would replace the exit status (Debian's file has one that fails without a terminal).
die() { local code=$1; shift; say "error: $*"; set +e; exit "$code"; }
