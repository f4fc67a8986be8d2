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
from hpcdeploy.transport.known_hosts import Finding, Verdict, distrust
from hpcdeploy.transport.openssh_mux import Mux, NoMasterError
from hpcdeploy.transport.prompts import answer_once
from hpcdeploy.transport.ssh_settings import Hop, SshSettings, ssh_argv

LINGERS = 10
"""Time in seconds that a connection stays open after its last session, and so after this process was killed."""

_LOGIN = 120.0
"""Time in seconds for a login without prompts, in addition to connecting: sshd's own limit (LoginGraceTime)."""

# A socket's name has at most 103 bytes (macOS; 107 on Linux), of which ssh uses 17 while it creates one (misc.c, mux.c).
_LONGEST = 103 - 17
_NAME = re.compile(r"[0-9a-f]{12}")
_SHOWN_KEY = re.compile(r"^debug1: Server host key: (\S+) (\S+)", re.MULTILINE)
_OFFENDING = re.compile(r"^Offending (?:(?!key in ).)*+key in (.+:\d+)", re.MULTILINE)
# At this log level ssh prints the fingerprint of an unknown host.
_SILENT = ("-o", "BatchMode=yes", "-o", "LogLevel=DEBUG1")
_NOISE = re.compile(r"debug\d: |OpenSSH_|Authenticated to |@+|\s*$")


def open_master(settings: SshSettings, *, ssh: str, config: str | None, asks: bool) -> tuple[Path, Mux]:
    """Open a connection to the host of `settings`.

    Args:
        settings: The host's settings.
        ssh: The program ssh.
        config: Another SSH configuration file, as for ``ssh -F``.
        asks: ssh may prompt the user at the terminal.

    Returns:
        The path of the connection's socket, and an open control connection that keeps it alive.

    Raises:
        TransportError: The host cannot be reached.
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
    """Return a folder for sockets that only this user can access; ssh removes its socket when it ends.

    If another user has taken that name in a shared folder, the folder gets an unpredictable name.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    everybodys = (Path(tempfile.gettempdir()), Path("/tmp"))  # noqa: S108 - checked in the next line
    shared = [place for place in everybodys if safe_for_temporary(place)]
    places = [place / f"hpcdeploy-{os.getuid()}" for place in shared]
    # After "su" this may still be another user's folder, which should get no files of this user.
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
        if _is_ours_alone(folder):
            return folder
        folder = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
        atexit.register(_remove_when_empty, folder)
    except OSError as error:
        raise TransportError(f"cannot create a folder for connections at {folder}: {error.strerror}") from error
    return folder


def _is_ours_alone(folder: Path) -> bool:
    """Create `folder` if it is missing; tell whether it is a folder, not a link, that only this user can access."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not stat.S_IMODE(status.st_mode) & 0o077


def _remove_when_empty(folder: Path) -> None:
    """Remove a folder of this process; a running ssh has its socket there, and leaves an empty folder."""
    with contextlib.suppress(OSError):
        folder.rmdir()


def _clear(folder: Path) -> None:
    """Remove the sockets of killed connections: those on which no process listens.

    ssh listens before it gives its socket the chosen name (OpenSSH's mux.c, muxserver_listen), so none of them is just being
    created.
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
    """Run ssh until it has logged in and moved to the background, or failed; it prompts at the terminal as usual."""
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
"""Number of bytes to read from the end of ssh's standard error; a server may print text before the login."""


def _without_terminal(argv: list[str], limit: float) -> tuple[int, str]:
    """Run ssh until it has logged in and moved to the background, or failed; return exit code and standard error."""
    environment = {**os.environ, "SSH_ASKPASS_REQUIRE": "never"}
    # A file instead of a pipe: ssh before 8.5 keeps it open in the background, so a pipe would never end (OpenSSH's bug
    # 1988).
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=output,
            env=environment,
            start_new_session=True,  # no terminal, also for the ssh of a jump host
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
    """Call `end` if this process exits meanwhile: after Ctrl-C it does not wait for a thread that logs in."""
    atexit.register(end)
    try:
        yield
    finally:
        atexit.unregister(end)


def _error_of(output: str, settings: SshSettings, *, asks: bool) -> TransportError | AuthenticationError:
    """Return the error for the output of a failed ssh; so far only a login was attempted."""
    lines = "; ".join(line for line in output.splitlines() if not _NOISE.match(line)) or "ssh printed no reason"
    key = _SHOWN_KEY.search(output)
    if key and "Host key verification failed" in output:
        places = tuple(_OFFENDING.findall(output)) or tuple(map(str, settings.known_hosts))
        finding = Finding(verdict=_verdict(output), places=places)
        return AuthenticationError(distrust(f"{key[1]} key {key[2]}", settings, finding))
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
