# --- login/build_messages.sh: strict mode, private files, messages.
set -euo pipefail
umask 077
say() { printf '%s\n' "$*" >&2 || true; }
# Without +e a failing command in ~/.bash_logout, which a login shell runs at its exit (Debian's fails without a terminal), would
# replace the exit code.
die() { local code=$1; shift; say "error: $*"; set +e; exit "$code"; }
