"""A connection that ssh(1) opens for this process alone, to be ridden on (ssh_config(5), ControlMaster)."""

import atexit
import contextlib
import os
import re
import secrets
import socket
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from hpcdeploy.errors import AuthenticationError, TransportError
from hpcdeploy.private import safe_for_temporary
from hpcdeploy.transport.asking import answer_once
from hpcdeploy.transport.known_hosts import Finding, Verdict, distrust
from hpcdeploy.transport.openssh_mux import Mux, NoMasterError
from hpcdeploy.transport.ssh_settings import Hop, SshSettings, ssh_argv

LINGERS = 10
"""Seconds that a connection outlives its last visitor, and so a process that was killed."""

_LOGIN = 120.0
"""Seconds for logging in, beside those for connecting, where nobody is asked: sshd's own patience (LoginGraceTime)."""

# A socket's name has 103 bytes (macOS; 107 on Linux), of which ssh keeps 17 for itself while it makes one (misc.c, mux.c).
_LONGEST = 103 - 17
_NAME = re.compile(r"[0-9a-f]{12}")
_SHOWN_KEY = re.compile(r"^debug1: Server host key: (\S+) (\S+)", re.MULTILINE)
_OFFENDING = re.compile(r"^Offending (?:(?!key in ).)*+key in (.+:\d+)", re.MULTILINE)
# The fingerprint that an unknown host shows is said at this level.
_SILENT = ("-o", "BatchMode=yes", "-o", "LogLevel=DEBUG1")
_NOISE = re.compile(r"debug\d: |OpenSSH_|Authenticated to |@+|\s*$")


def open_master(settings: SshSettings, *, ssh: str, config: str | None, asks: bool) -> tuple[Path, Mux]:
    """Open a connection to the host of `settings`, and return where it listens and a talk that keeps it there.

    `asks` says whether a person sits at the terminal, whom ssh then asks there itself. Raises `TransportError` where the
    host cannot be reached and `AuthenticationError` where it is not the one we know or does not know us.
    """
    folder = _private_folder()
    _clear(folder)
    path = folder / secrets.token_hex(6)
    argv = [*ssh_argv(ssh, Hop(host=settings.alias), config), "-fNMT", "-S", str(path), *_options(settings)]
    if not asks:
        code, said = _listen([*argv, *_SILENT, "--", settings.alias], settings.connect_timeout + _LOGIN)
    else:
        code, said = _at_the_terminal([*argv, "--", settings.alias]), ""
        if code:  # it told the person why; asked once more, without trying to log in, it tells us what kind of failure it is
            silent = [*argv, *_SILENT, "-o", "PreferredAuthentications=none", "--", settings.alias]
            code, said = _listen(silent, settings.connect_timeout + _LOGIN)
    if code:
        raise _why(said, settings, asks=asks)
    try:
        return path, Mux(path)
    except NoMasterError as error:
        message = f"ssh connected to {settings.alias} and was gone at once ({error}); check that `{settings.login}` gets in"
        raise TransportError(message) from error


def _private_folder() -> Path:
    """Make the folder for sockets, which nobody else can enter; ssh takes a socket away when it ends.

    Where somebody else has that name in a folder that is everybody's, the folder gets a name that nobody can foresee.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    everybodys = (Path(tempfile.gettempdir()), Path("/tmp"))  # noqa: S108 - checked in the next line
    shared = [place for place in everybodys if safe_for_temporary(place)]
    places = [place / f"hpcdeploy-{os.getuid()}" for place in shared]
    # After "su" this may still be another user's, in whose way a folder of ours would be.
    if runtime.startswith("/") and os.access(runtime, os.W_OK | os.X_OK) and Path(runtime).stat().st_uid == os.getuid():
        places.insert(0, Path(runtime) / "hpcdeploy")
    fitting = [place for place in places if len(os.fsencode(place)) + len("-xxxxxxxx/xxxxxxxxxxxx") <= _LONGEST]
    if not fitting:
        raise TransportError(
            f"no connection can be kept in {tempfile.gettempdir()} or /tmp: others can exchange what lies there, or the "
            "path is too long; set TMPDIR to a folder of your own with a short path"
        )
    folder = fitting[0]
    try:
        if _is_ours_alone(folder):
            return folder
        folder = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
        atexit.register(_remove_when_empty, folder)
    except OSError as error:
        raise TransportError(f"no folder for connections can be made at {folder}: {error.strerror}") from error
    return folder


def _is_ours_alone(folder: Path) -> bool:
    """Make `folder` where it is missing; tell whether it is a folder, and no link to one, that only this user can enter."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not stat.S_IMODE(status.st_mode) & 0o077


def _remove_when_empty(folder: Path) -> None:
    """Remove a folder of this process alone; an ssh that lingers has its socket in there, and leaves an empty folder."""
    with contextlib.suppress(OSError):
        folder.rmdir()


def _clear(folder: Path) -> None:
    """Take away what connections left that were killed: names under which nobody listens.

    ssh listens before it gives its socket the name that we chose (OpenSSH's mux.c, muxserver_listen), so that none of them
    is just beginning.
    """
    for name in folder.iterdir():
        if not _NAME.fullmatch(name.name):
            continue
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as visitor:
            visitor.settimeout(0)
            try:
                visitor.connect(str(name))
            except ConnectionRefusedError:
                name.unlink()


def _options(settings: SshSettings) -> list[str]:
    options = {
        "ControlPersist": str(LINGERS),
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "ConnectTimeout": f"{settings.connect_timeout:.0f}",
        "ServerAliveInterval": f"{settings.alive_interval:.0f}",
        "ServerAliveCountMax": str(max(settings.alive_count, 1)),
        "ClearAllForwardings": "yes",
        "ForwardX11": "no",
        "PermitLocalCommand": "no",
        "RemoteCommand": "none",
    }
    return [word for name, value in options.items() for word in ("-o", f"{name}={value}")]


def _at_the_terminal(argv: list[str]) -> int:
    """Run ssh until it has logged in and left the foreground, or failed; it asks and tells the person as it always does."""
    with (
        subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process,
        _ending_with_us(process.terminate),
    ):
        try:
            return process.wait()
        except BaseException:
            process.terminate()  # it gives the terminal its echo back before it goes
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2)
            process.kill()
            raise


_SAID = 256 * 1024
"""Bytes of what ssh said that are read, at its end: a server may print before it lets anybody in."""


def _listen(argv: list[str], limit: float) -> tuple[int, str]:
    """Run ssh until it has logged in and left the foreground, or failed; return its exit code and what it said."""
    environment = {**os.environ, "SSH_ASKPASS_REQUIRE": "never"}
    # A file and no pipe: ssh before 8.5 keeps it open in the background, and a pipe would have no end (OpenSSH's bug 1988).
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            env=environment,
            start_new_session=True,  # no terminal is there, for the ssh of a jump host either
        ) as process,
    ):
        try:
            with _ending_with_us(process.kill):
                process.wait(limit)
        except subprocess.TimeoutExpired:
            process.kill()
            return 255, f"no answer within {limit:g} s"
        except BaseException:
            process.kill()
            raise
        said.seek(max(0, said.seek(0, os.SEEK_END) - _SAID))
        return process.returncode, said.read(_SAID).decode(errors="replace").replace("\r", "")


@contextlib.contextmanager
def _ending_with_us(end: Callable[[], None]) -> Iterator[None]:
    """Call `end` where this process ends meanwhile: who is told Ctrl-C does not wait for a thread that logs in."""
    atexit.register(end)
    try:
        yield
    finally:
        atexit.unregister(end)


def _why(said: str, settings: SshSettings, *, asks: bool) -> TransportError | AuthenticationError:
    """Make an error of what ssh `said` before it failed: nothing was asked of the host by then but to let us in."""
    lines = "; ".join(line for line in said.splitlines() if not _NOISE.match(line)) or "ssh does not say why"
    key = _SHOWN_KEY.search(said)
    if key and "Host key verification failed" in said:
        places = tuple(_OFFENDING.findall(said)) or tuple(map(str, settings.known_hosts))
        finding = Finding(verdict=_verdict(said), places=places)
        return AuthenticationError(distrust(f"{key[1]} key {key[2]}", settings, finding))
    if not re.search(r"Permission denied \(|Too many authentication failures|Host key verification failed", said):
        return TransportError(f"{settings.alias} cannot be reached: {lines}; check that `{settings.login}` gets in")
    parts = [f"{settings.alias} does not let user {settings.user} in: {lines}"]
    if settings.gssapi and any("gssapi" in line.partition("Permission denied (")[2] for line in said.splitlines()):
        parts.append("for Kerberos, get a ticket with `kinit`")
    if not asks:
        parts.append(f"where it asks for a code or a password, {answer_once(settings.master)}")
    parts.append(f"check that `{settings.login}` gets in")
    return AuthenticationError("; ".join(parts))


def _verdict(said: str) -> Verdict:
    if "REVOKED" in said:
        return "revoked"
    return "changed" if "HAS CHANGED" in said else "unknown"
