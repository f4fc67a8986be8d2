# --- login/messages.sh: strict mode, private files, messages. A cut connection must not end the script between the scheduler's
# answer and the record of it.
set -euo pipefail
umask 077
trap '' HUP PIPE
say() { printf '%s\n' "$*" >&2 || true; }
# Without +e a failing command in ~/.bash_logout, which a login shell runs at its exit (Debian's fails without a terminal), would
# replace the exit code.
die() { local code=$1; shift; say "error: $*"; trap - EXIT; set +e; exit "$code"; }
