"""Open a connection with ssh(1) for this process alone (ssh_config(5), ControlMaster)."""

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
from hpcdeploy.transport.known_hosts import Finding, Verdict, distrust_message
from hpcdeploy.transport.openssh_mux import Mux, NoMasterError
from hpcdeploy.transport.prompts import answer_once
from hpcdeploy.transport.ssh_settings import Hop, SshSettings, ssh_argv

LINGERS = 10
"""Time in seconds for which a connection stays open without a session (ControlPersist).

If this process is killed, its connection ends after this time.
"""

_LOGIN = 120.0
"""Maximum time in seconds for a login without prompts, in addition to ConnectTimeout: sshd's default LoginGraceTime."""

# Maximum length in bytes of a socket's path: 103 on macOS (107 on Linux), minus 17 that ssh appends to the path while it
# creates the socket (misc.c, mux.c).
_LONGEST = 103 - 17
_NAME = re.compile(r"[0-9a-f]{12}")
_SHOWN_KEY = re.compile(r"^debug1: Server host key: (\S+) (\S+)", re.MULTILINE)
_OFFENDING = re.compile(r"^Offending (?:(?!key in ).)*+key in (.+:\d+)", re.MULTILINE)
# LogLevel=DEBUG1: ssh then prints the fingerprint of an unknown host key, which the error message shows.
_SILENT = ("-o", "BatchMode=yes", "-o", "LogLevel=DEBUG1")
_NOISE = re.compile(r"debug\d: |OpenSSH_|Authenticated to |@+|\s*$")


def open_master(settings: SshSettings, *, ssh: str, config: str | None, asks: bool) -> tuple[Path, Mux]:
    """Open a connection to the host of `settings`.

    Args:
        settings: The host's settings.
        ssh: The program ssh.
        config: Another SSH configuration file, as for ``ssh -F``.
        asks: Whether ssh may prompt the user at the terminal.

    Returns:
        The path of the connection's socket, and an open control connection, which keeps the connection open.

    Raises:
        TransportError: The host cannot be reached, or there is no private folder for the socket.
        AuthenticationError: The host key is not trusted, or the host rejected the login.
    """
    folder = _private_folder()
    _clear(folder)
    path = folder / secrets.token_hex(6)
    argv = [*ssh_argv(ssh, Hop(host=settings.alias), config), "-fNMT", "-S", str(path), *_options(settings)]
    if not asks:
        code, output = _without_terminal([*argv, *_SILENT, "--", settings.alias], settings.connect_timeout + _LOGIN)
    else:
        code, output = _at_the_terminal([*argv, "--", settings.alias]), ""
        if code:  # the user saw the reason; a second attempt without login shows the type of failure
            silent = [*argv, *_SILENT, "-o", "PreferredAuthentications=none", "--", settings.alias]
            code, output = _without_terminal(silent, settings.connect_timeout + _LOGIN)
    if code:
        raise _error_of(output, settings, asks=asks)
    try:
        return path, Mux(path)
    except NoMasterError as error:
        message = f"ssh connected to {settings.alias}, but ended at once ({error}); check that `{settings.login}` can log in"
        raise TransportError(message) from error


def _private_folder() -> Path:
    """Return a folder for sockets that only this user can access.

    If a file with the usual name exists but is not such a folder, a folder with an additional unpredictable suffix is
    created. The new folder is removed when this process exits.

    Raises:
        TransportError: There is no suitable place, or the folder cannot be created.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    candidates = (Path(tempfile.gettempdir()), Path("/tmp"))  # noqa: S108 - checked in the next line
    shared = [place for place in candidates if safe_for_temporary(place)]
    places = [place / f"hpcdeploy-{os.getuid()}" for place in shared]
    # After "su", XDG_RUNTIME_DIR may still be another user's folder. It is not used then.
    if runtime.startswith("/") and os.access(runtime, os.W_OK | os.X_OK) and Path(runtime).stat().st_uid == os.getuid():
        places.insert(0, Path(runtime) / "hpcdeploy")
    fitting = [place for place in places if len(os.fsencode(place)) + len("-xxxxxxxx/xxxxxxxxxxxx") <= _LONGEST]
    if not fitting:
        raise TransportError(
            f"no connection can be kept in {tempfile.gettempdir()} or /tmp: other users can replace files there, or the "
            "path is too long. Set TMPDIR to a folder of your own with a short path"
        )
    folder = fitting[0]
    try:
        if _ensure_private(folder):
            return folder
        folder = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
        atexit.register(_remove_when_empty, folder)
    except OSError as error:
        raise TransportError(f"cannot create a folder for connections at {folder}: {error.strerror}") from error
    return folder


def _ensure_private(folder: Path) -> bool:
    """Create `folder` if it is missing; return whether it is a real folder (no link) that only this user can access."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not stat.S_IMODE(status.st_mode) & 0o077


def _remove_when_empty(folder: Path) -> None:
    """Remove a folder that this process created, unless a running ssh still has its socket in the folder."""
    with contextlib.suppress(OSError):
        folder.rmdir()


def _clear(folder: Path) -> None:
    """Remove sockets on which no process listens; they are left by ssh processes that were killed.

    A socket of an ssh that is just starting is not removed: ssh listens on its socket before it renames the socket to the
    chosen name (OpenSSH's mux.c, muxserver_listen).
    """
    for name in folder.iterdir():
        if not _NAME.fullmatch(name.name):
            continue
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.settimeout(0)
            try:
                client.connect(str(name))
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
    """Run ssh, which prompts at the terminal, until it failed, or logged in and moved to the background.

    Returns:
        The exit code of ssh.
    """
    with (
        subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process,
        _ending_with_us(process.terminate),
    ):
        try:
            return process.wait()
        except BaseException:
            process.terminate()  # it restores the terminal's echo before it ends
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2)
            process.kill()
            raise


_OUTPUT_LIMIT = 256 * 1024
"""Maximum number of bytes to read, from the end, of ssh's standard error. It may be long, because it contains text that the
server sends before the login."""


def _without_terminal(argv: list[str], limit: float) -> tuple[int, str]:
    """Run ssh without prompts until it failed, or logged in and moved to the background; wait at most `limit` seconds.

    Returns:
        The exit code and the standard error of ssh.
    """
    environment = {**os.environ, "SSH_ASKPASS_REQUIRE": "never"}
    # Standard error is a file, not a pipe. ssh before 8.5 keeps standard error open in the background, so reading a pipe
    # would not end (OpenSSH's bug 1988).
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=output,
            env=environment,
            start_new_session=True,  # without a terminal, so that the ssh of a jump host cannot prompt either
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
        output.seek(max(0, output.seek(0, os.SEEK_END) - _OUTPUT_LIMIT))
        return process.returncode, output.read(_OUTPUT_LIMIT).decode(errors="replace").replace("\r", "")


@contextlib.contextmanager
def _ending_with_us(end: Callable[[], None]) -> Iterator[None]:
    """Call `end` if this process exits while the context is open.

    After Ctrl-C this process exits without waiting for a thread that logs in.
    """
    atexit.register(end)
    try:
        yield
    finally:
        atexit.unregister(end)


def _error_of(output: str, settings: SshSettings, *, asks: bool) -> TransportError | AuthenticationError:
    """Return the error for the output of an ssh that failed to connect or to log in."""
    lines = "; ".join(line for line in output.splitlines() if not _NOISE.match(line)) or "ssh printed no reason"
    key = _SHOWN_KEY.search(output)
    if key and "Host key verification failed" in output:
        places = tuple(_OFFENDING.findall(output)) or tuple(map(str, settings.known_hosts))
        finding = Finding(verdict=_verdict(output), places=places)
        return AuthenticationError(distrust_message(f"{key[1]} key {key[2]}", settings, finding))
    if not re.search(r"Permission denied \(|Too many authentication failures|Host key verification failed", output):
        return TransportError(f"{settings.alias} cannot be reached: {lines}; check that `{settings.login}` can log in")
    parts = [f"{settings.alias} rejected the login of user {settings.user}: {lines}"]
    if settings.gssapi and any("gssapi" in line.partition("Permission denied (")[2] for line in output.splitlines()):
        parts.append("for Kerberos, get a ticket with `kinit`")
    if not asks:
        parts.append(f"if it requires a code or a password, {answer_once(settings.master)}")
    parts.append(f"check that `{settings.login}` can log in")
    return AuthenticationError("; ".join(parts))


def _verdict(output: str) -> Verdict:
    if "REVOKED" in output:
        return "revoked"
    return "changed" if "HAS CHANGED" in output else "unknown"
