"""Define the remote commands that copy files over standard input and output, and parse their answers.

``cat`` is faster than SFTP over paramiko, and only needs POSIX sh. Each answer follows a marker, because login shells print
banners on standard output. If the connection is lost, ``cat`` ends without an error, as at the end of the file. Therefore
size and checksum of the partial file are verified before the partial file is renamed.
"""

from hpcdeploy.frozen import frozen

# $1: the partial file, $2: the expected size, $3: the marker. An incomplete file is removed. A complete file is kept until
# the client has compared its checksum. openssl is preferred to sha256sum, because it uses the processor's SHA instructions.
# For 1 GB, sha256sum took 3 to 4 s, as long as the upload itself (coreutils 9.1 on loopback).
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

# $1: the file, $2: the marker. Only as many bytes are sent as were announced, also if the file grows meanwhile.
_SEND = """
[ -f "$1" ] || { [ -e "$1" ] && echo "$1 is no ordinary file" >&2 || echo "$1 does not exist" >&2; exit 1; }
size=$(wc -c < "$1") || exit 1
[ -x "$1" ] && mode=x || mode=-
printf '\\n%s %s %s\\n' "$2" "$size" "$mode"
head -c "$size" < "$1"
"""

PIECE = 32 * 1024 - 64
"""Number of bytes to send at once: as many as fit into a packet. paramiko copies longer data repeatedly.

A packet of OpenSSH has 32 KiB, of which paramiko uses 64 bytes itself.
"""

LONGEST_HEADER = 128
"""Maximum length in bytes of a header line: a marker (32 bytes), a size and a mode."""


def receive_argv(part: str, size: int, mark: str) -> list[str]:
    """Return the command that writes its standard input to the partial file `part`, and prints the file's checksum."""
    return ["sh", "-c", _RECEIVE, "hpcdeploy-put", _rooted(part), str(size), mark]


def rename_argv(part: str, target: str, *, executable: bool) -> list[str]:
    """Return the command that renames the complete file `part` to `target`."""
    return ["sh", "-c", _RENAME, "hpcdeploy-put", _rooted(part), _rooted(target), "x" if executable else "-"]


def remove_argv(part: str) -> list[str]:
    """Return the command that removes the partial file `part`."""
    return ["rm", "-f", "--", _rooted(part)]


def send_argv(path: str, mark: str) -> list[str]:
    """Return the command that prints a marker, the size and the content of the file `path`."""
    return ["sh", "-c", _SEND, "hpcdeploy-get", _rooted(path), mark]


def received_digest(stdout: bytes, mark: str) -> str | None:
    """Return the checksum after the marker; ``none`` if the machine has no program to compute it, None without an answer."""
    for line in stdout.decode(errors="replace").splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == mark:
            return words[1]
    return None


@frozen
class Header:
    """The header line before a file's content.

    Attributes:
        size: The file's size in bytes.
        executable: The file is executable.
        rest: The first bytes of the content, which were received with the header.
    """

    size: int
    executable: bool
    rest: bytes


def split_header(stream: bytes | bytearray, mark: str, start: int = 0) -> Header | None:
    """Return the header in the received data, searched from `start` on; None if it was not received completely."""
    start = stream.find(f"\n{mark} ".encode(), start)
    end = stream.find(b"\n", start + 1)
    if start < 0 or end < 0:
        return None
    _, size, mode = stream[start + 1 : end].decode().split()
    return Header(size=int(size), executable=mode == "x", rest=bytes(stream[end + 1 :]))


def _rooted(path: str) -> str:
    # "./" is added, because a name with a leading dash would be an option. It does not change what a relative path means.
    return path if path.startswith("/") else f"./{path}"
