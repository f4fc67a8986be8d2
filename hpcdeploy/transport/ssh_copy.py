"""Copy files over a command's streams: the small scripts for the remote side, and their answers. Pure text.

A stream through ``cat`` is faster than SFTP over paramiko, and only needs POSIX sh. Each answer follows a marker, because
login shells print banners on standard output. For ``cat`` a lost connection looks like the end of the file, so size and
checksum are verified before a partial file gets its name.
"""

from hpcdeploy.frozen import frozen

# $1: the partial file, $2: its size, $3: the marker. An incomplete file is removed at once; a complete one waits for the
# comparison of its checksum. openssl comes first, because it uses the processor's SHA instructions: for 1 GB sha256sum took
# 3 to 4 s, as long as the upload itself (coreutils 9.1 on loopback).
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

# $1: the partial file, $2: the target, $3: "x" for an executable file.
_RENAME = """
if [ -d "$2" ]; then
    echo "$2 is a folder" >&2
    rm -f -- "$1"
    exit 1
fi
if [ "$3" = x ]; then chmod +x -- "$1" || exit 1; fi
mv -f -- "$1" "$2"
"""

# $1: the file, $2: the marker. The size is read once, so that of a growing file only this part is sent.
_SEND = """
[ -f "$1" ] || { [ -e "$1" ] && echo "$1 is no ordinary file" >&2 || echo "$1 does not exist" >&2; exit 1; }
size=$(wc -c < "$1") || exit 1
[ -x "$1" ] && mode=x || mode=-
printf '\\n%s %s %s\\n' "$2" "$size" "$mode"
head -c "$size" < "$1"
"""

# OpenSSH's packets have 32 KiB, of which paramiko uses 64 bytes itself; longer data it copies repeatedly.
PIECE = 32 * 1024 - 64
"""Best number of bytes to send at once."""

LONGEST_HEADER = 128
"""Maximum length in bytes of the line with a marker (32), a size and a mode."""


def receive_argv(part: str, size: int, mark: str) -> list[str]:
    """Return the command that writes its standard input to `part` and prints its checksum."""
    return ["sh", "-c", _RECEIVE, "hpcdeploy-put", _rooted(part), str(size), mark]


def rename_argv(part: str, target: str, *, executable: bool) -> list[str]:
    """Return the command that renames a complete `part`."""
    return ["sh", "-c", _RENAME, "hpcdeploy-put", _rooted(part), _rooted(target), "x" if executable else "-"]


def remove_argv(part: str) -> list[str]:
    """Return the command that removes a `part`."""
    return ["rm", "-f", "--", _rooted(part)]


def send_argv(path: str, mark: str) -> list[str]:
    """Return the command that prints a marker, the size and the content of the file `path`."""
    return ["sh", "-c", _SEND, "hpcdeploy-get", _rooted(path), mark]


def received_digest(stdout: bytes, mark: str) -> str | None:
    """Return the checksum after the marker; ``none`` if the machine cannot compute it, None if there is no answer."""
    for line in stdout.decode(errors="replace").splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == mark:
            return words[1]
    return None


@frozen
class Header:
    """The line before a file.

    Attributes:
        size: The file's size in bytes.
        executable: The file is executable.
        rest: The first bytes of its content.
    """

    size: int
    executable: bool
    rest: bytes


def split_header(stream: bytes | bytearray, mark: str, start: int = 0) -> Header | None:
    """Find the header in the received data, from `start` on; None if it is not complete."""
    start = stream.find(f"\n{mark} ".encode(), start)
    end = stream.find(b"\n", start + 1)
    if start < 0 or end < 0:
        return None
    _, size, mode = stream[start + 1 : end].decode().split()
    return Header(size=int(size), executable=mode == "x", rest=bytes(stream[end + 1 :]))


def _rooted(path: str) -> str:
    # A leading dash would be an option; a bare name is relative to the home folder in either form.
    return path if path.startswith("/") else f"./{path}"
