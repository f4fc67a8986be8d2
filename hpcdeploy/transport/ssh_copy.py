"""Files over a command's streams: the small scripts that run at the other end, and what they answer. Pure text.

A stream through ``cat`` is faster than SFTP over paramiko and needs nothing but POSIX sh there. Each answer stands behind a
mark of its own, because login shells print banners on standard output. A connection that dies looks like the end of the
file to ``cat``, so size and digest are checked before a part gets its name.
"""

from dataclasses import dataclass

# $1 the part, $2 its size, $3 the mark. What is not whole is removed at once; what is, waits for its digest to be compared.
# openssl first: it uses the processor's own SHA instructions, where sha256sum took 3 to 4 s for 1 GB, as long as the upload
# itself (coreutils 9.1 on loopback).
_RECEIVE = """
trap 'rm -f -- "$1"' HUP INT TERM
set -C
cat > "$1" || { rm -f -- "$1"; exit 1; }
got=$(wc -c < "$1")
if [ "$got" -ne "$2" ]; then
    rm -f -- "$1"
    echo "received only $got of $2 bytes; is the disk full, or the quota used up?" >&2
    exit 1
fi
if command -v openssl > /dev/null 2>&1 && digest=$(openssl dgst -sha256 -r < "$1" 2> /dev/null); then
    :
elif command -v sha256sum > /dev/null 2>&1; then
    digest=$(sha256sum < "$1") || { rm -f -- "$1"; exit 1; }
else
    digest=none
fi
printf '\\n%s %s\\n' "$3" "${digest%% *}"
"""

# $1 the part, $2 the target, $3 "x" for a program.
_RENAME = """
if [ -d "$2" ]; then
    echo "$2 is a folder" >&2
    rm -f -- "$1"
    exit 1
fi
if [ "$3" = x ]; then chmod +x -- "$1" || exit 1; fi
mv -f -- "$1" "$2"
"""

# $1 the file, $2 the mark. The size is taken once, so that a file which grows meanwhile ends where it then ended.
_SEND = """
[ -f "$1" ] || { [ -e "$1" ] && echo "$1 is no ordinary file" >&2 || echo "$1 does not exist" >&2; exit 1; }
size=$(wc -c < "$1") || exit 1
[ -x "$1" ] && mode=x || mode=-
printf '\\n%s %s %s\\n' "$2" "$size" "$mode"
head -c "$size" < "$1"
"""

# OpenSSH takes packets of 32 KiB, of which paramiko keeps 64 bytes for itself; what is longer it copies again and again.
PIECE = 32 * 1024 - 64
"""Bytes that are best sent at once."""

LONGEST_HEADER = 128
"""Bytes of the line with a mark (32), a size and a mode."""


def receive_argv(part: str, size: int, mark: str) -> list[str]:
    """Return the command that writes its standard input to `part` and answers with its digest."""
    return ["sh", "-c", _RECEIVE, "hpcdeploy-put", _rooted(part), str(size), mark]


def rename_argv(part: str, target: str, *, executable: bool) -> list[str]:
    """Return the command that gives a whole `part` its name."""
    return ["sh", "-c", _RENAME, "hpcdeploy-put", _rooted(part), _rooted(target), "x" if executable else "-"]


def remove_argv(part: str) -> list[str]:
    """Return the command that removes a `part`."""
    return ["rm", "-f", "--", _rooted(part)]


def send_argv(path: str, mark: str) -> list[str]:
    """Return the command that writes a mark, the size and then the file `path` to its standard output."""
    return ["sh", "-c", _SEND, "hpcdeploy-get", _rooted(path), mark]


def received_digest(stdout: bytes, mark: str) -> str | None:
    """Return the digest that stands behind the mark; ``none`` where the machine cannot compute one, None: no answer."""
    for line in stdout.decode(errors="replace").splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == mark:
            return words[1]
    return None


@dataclass(frozen=True, kw_only=True)
class Header:
    """What comes before a file: its size in bytes, whether it is a program, and ``rest``, its first bytes."""

    size: int
    executable: bool
    rest: bytes


def split_header(stream: bytes | bytearray, mark: str, start: int = 0) -> Header | None:
    """Find the header in the beginning of what was sent, from `start` on, or None where it has not come yet."""
    start = stream.find(f"\n{mark} ".encode(), start)
    end = stream.find(b"\n", start + 1)
    if start < 0 or end < 0:
        return None
    _, size, mode = stream[start + 1 : end].decode().split()
    return Header(size=int(size), executable=mode == "x", rest=bytes(stream[end + 1 :]))


def _rooted(path: str) -> str:
    # A leading dash would be an option, and a bare name is found in the home folder all the same.
    return path if path.startswith("/") else f"./{path}"
