"""Take from this Python process what Linux has and macOS lacks. Python imports this module at its start, from PYTHONPATH.

Imitated are names that Python lacks on macOS ("Availability" in the documentation of os, signal, select and socket), and
these differences of the system: no /proc and /sys; a socket's path has at most 103 bytes (unix(4)); unlink(2) of a folder is
EPERM; open(2) of a socket is EOPNOTSUPP; killpg(2) of processes that have ended is EPERM. Not imitated: file systems that
ignore case, kqueue, numbers of signals and errors, and everything that macOS adds.
"""

import errno
import os
import re
import select
import signal
import stat
import sys
import threading
from collections.abc import Callable
from typing import Any

for _name in [name for name in vars(select) if re.fullmatch("epoll|EPOLL.*", name)]:
    delattr(select, _name)  # before `socket` imports `selectors`, which chooses among what is there

import socket  # noqa: E402

MISSING: tuple[tuple[Any, str], ...] = (
    (
        os,
        (
            "(get|set|list|remove)xattr|XATTR_.*|sched_.*affinity|sched_(get|set)(param|scheduler)|sched_rr_.*|SCHED_.*|memfd_.*|"
            "MFD_.*|pidfd_.*|P_PIDFD|posix_fa.*|POSIX_FADV_.*|pipe2|fdatasync|splice|SPLICE_.*|eventfd.*|EFD_.*|copy_file_range|"
            "getrandom|GRND_.*|setns|unshare|CLONE_.*|waitid|(get|set)res[ug]id|O_(PATH|TMPFILE|NOATIME|DIRECT|LARGEFILE|RSYNC)"
        ),
    ),
    (signal, "SIG(STKFLT|PWR|RTMIN|RTMAX|POLL|CLD)|sigtimedwait|sigwaitinfo|pidfd_send_signal"),
    (
        socket,
        (
            "SO_(PEERCRED|PASSCRED|BINDTODEVICE|DOMAIN|PROTOCOL|MARK|PRIORITY|PEERSEC)|SCM_CREDENTIALS|SOCK_(CLOEXEC|NONBLOCK)|"
            "MSG_(NOSIGNAL|CMSG_CLOEXEC|CONFIRM|ERRQUEUE|MORE|FASTOPEN)|AF_(PACKET|NETLINK|VSOCK|ALG|TIPC|CAN|QIPCRTR)|"
            "TCP_(QUICKACK|KEEPIDLE|CORK|DEFER_ACCEPT|INFO|LINGER2|SYNCNT|USER_TIMEOUT|WINDOW_CLAMP|CONGESTION)"
        ),
    ),
)
LONGEST_SOCKET = 103

_looking = threading.local()


def _of_linux(path: object) -> bool:
    text = os.fsdecode(path) if isinstance(path, str | bytes) else ""
    return re.match(r"/(proc|sys)(/|$)", text) is not None and not getattr(_looking, "inside", False)


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("open", "os.listdir", "os.scandir", "os.chdir", "os.mkdir") and arguments and _of_linux(arguments[0]):
        # / is not writable on macOS either: mkdir(2) says EROFS there, of a missing folder in it ENOENT.
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(arguments[0]))


def _without_linux(call: Callable[..., Any]) -> Callable[..., Any]:
    def called(path: Any, *more: Any, **options: Any) -> Any:
        if not isinstance(path, int) and _of_linux(os.fspath(path)):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return call(path, *more, **options)

    return called


def _unlink(call: Callable[..., Any]) -> Callable[..., Any]:
    def called(path: Any, **options: Any) -> None:
        try:
            call(path, **options)
        except IsADirectoryError:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path)) from None

    return called


def _open(call: Callable[..., Any]) -> Callable[..., Any]:
    def called(path: Any, *more: Any, **options: Any) -> Any:
        try:
            return call(path, *more, **options)
        except OSError as error:
            if error.errno != errno.ENXIO or not stat.S_ISSOCK(os.lstat(path, dir_fd=options.get("dir_fd")).st_mode):
                raise
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), str(path)) from None

    return called


def _killpg(call: Callable[[int, int], None]) -> Callable[[int, int], None]:
    def called(group: int, number: int) -> None:
        _looking.inside = True
        try:
            states = [state for process in _processes() if (state := _state(process, group))]
        finally:
            _looking.inside = False
        if states and set(states) <= {"Z"}:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        call(group, number)

    return called


def _processes() -> list[str]:
    return [name for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - pathlib is not imported at the start


def _state(process: str, group: int) -> str:
    """Return the state of a process of the process group `group`; empty for another one (proc_pid_stat(5))."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:  # noqa: PTH123
            state, _parent, its_group = file.read().rpartition(b")")[2].split()[:3]
    except OSError:
        return ""
    return state.decode() if int(its_group) == group else ""


def _short(call: Callable[..., Any]) -> Callable[..., Any]:
    def called(self: socket.socket, address: Any) -> Any:
        if self.family == socket.AF_UNIX and len(os.fsencode(address)) > LONGEST_SOCKET:
            raise OSError("AF_UNIX path too long")
        return call(self, address)

    return called


def _imitate() -> None:
    for module, pattern in MISSING:
        for name in [name for name in vars(module) if re.fullmatch(pattern, name)]:
            delattr(module, name)
    for name in ("stat", "lstat", "readlink", "access"):
        setattr(os, name, _without_linux(getattr(os, name)))
    os.unlink, os.remove, os.open, os.killpg = _unlink(os.unlink), _unlink(os.remove), _open(os.open), _killpg(os.killpg)
    for name in ("connect", "bind"):
        setattr(socket.socket, name, _short(getattr(socket.socket, name)))
    sys.addaudithook(_audit)


_imitate()
