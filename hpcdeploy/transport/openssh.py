"""Use a connection of OpenSSH: one that the user has open, or a new one that ssh(1) opens for this process."""

import contextlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from hpcdeploy.errors import ConnectionLostError, MissingProgramError, TransportError
from hpcdeploy.transport.openssh_master import open_master
from hpcdeploy.transport.openssh_mux import LostMasterError, Mux, NoMasterError, Session, master_at
from hpcdeploy.transport.prompts import ASKING, somebody_is_there
from hpcdeploy.transport.pump import SilenceError
from hpcdeploy.transport.ssh_settings import Hop, SshSettings, find_ssh, look_up, this_person
from hpcdeploy.transport.streamed import StreamedTransport

_OPENING = 60.0
"""Timeout in seconds for opening a channel. It does not apply to the command itself, which may be silent for longer."""


class OpensshTransport(StreamedTransport):
    """Run commands and copy files over a connection of ssh(1), so that every login method of OpenSSH works.

    If the user has a connection open (ControlMaster), it is used and never closed. Otherwise ssh opens a new connection for
    this process. The new connection ends with `close`, or 10 seconds after this process was killed.

    Args:
        host: A name in the SSH configuration, a host name or an address.
        config: Another SSH configuration file, as for ``ssh -F``.
        settings: The host's settings; None to look them up with the first command.
        asks: Tells whether the user can be prompted.
        ssh: Returns the path of the program ssh; None if it is not installed.
    """

    def __init__(
        self,
        host: str,
        *,
        config: str | None = None,
        settings: SshSettings | None = None,
        asks: Callable[[], bool] = somebody_is_there,
        ssh: Callable[[], str | None] = find_ssh,
    ) -> None:
        self._host = host
        self._config = config
        self._settings = settings
        self._asks = asks
        self._ssh = ssh
        self._path = Path()
        self._mux: Mux | None = None
        self._opened_here = False
        self._lock = threading.Lock()

    @property
    def where(self) -> str:
        """The machine's name as given by the user, for messages."""
        return self._host

    def begin(self, _argv: Sequence[str]) -> None:
        """Do nothing, because ssh would prompt the user at once, even if no command follows."""

    def close(self) -> None:
        """Release the connection, and end it if this process opened it."""
        with self._lock:
            self._release()

    def _release(self) -> None:
        mux, self._mux = self._mux, None
        if mux is None:
            return
        if self._opened_here:
            mux.end_master()
            self._path.unlink(missing_ok=True)  # the master itself removes its socket only a moment later
        mux.close()

    def _start(self, line: bytes, task: str, timeout: float | None) -> Session:
        timeout_s = min(timeout or _OPENING, _OPENING)
        try:
            return self._session(line, timeout_s)
        except SilenceError:
            message = (
                f"{self.where}: no answer for {timeout_s:g} s, so hpcdeploy stopped waiting: {task}; it may still run. "
                f"If the connection is dead, end it: `ssh -S {self._path} -O exit {self._host}`"
            )
            raise ConnectionLostError(message) from None
        except LostMasterError as error:
            raise ConnectionLostError(self._lost_message(task)) from error
        except NoMasterError as error:
            message = f"the connection to {self.where} was closed ({error}) before this command began: {task}; try again"
            raise TransportError(message) from error

    def _session(self, line: bytes, timeout_s: float) -> Session:
        """Open a session; if the connection was closed before the request, try once more over a new connection."""
        for last in (False, True):
            path = self._connected()
            try:
                mux = Mux(path)
                try:
                    with self._opening():
                        return mux.open_session(line, timeout=timeout_s)
                except BaseException:
                    mux.close()
                    raise
            except NoMasterError:
                self._avoid(path)
                if last:
                    raise
        raise AssertionError("the loop returns or raises")

    def _connected(self) -> Path:
        with self._lock:
            if self._mux is not None and not self._mux.lasts():
                self._mux.close()
                self._mux = None
            if self._mux is None:
                self._connect()
            return self._path

    def _avoid(self, path: Path) -> None:
        """Release the connection at `path`, so that the next command uses another one.

        A connection may serve its open sessions but accept no new ones. This happens after ``ssh -O stop``, and if the
        runtime folder with its socket was removed because the user logged out.
        """
        with self._lock:
            if self._mux is not None and self._path == path:
                self._mux.close()
                self._mux = None

    def _connect(self) -> None:
        ssh = self._ssh()
        if ssh is None:
            message = 'the program ssh is not installed here; install OpenSSH\'s client, or set transport to "paramiko"'
            raise MissingProgramError(message)
        if self._settings is None:
            self._settings = look_up(Hop(host=self._host), config=self._config, person=this_person(), ssh=ssh)
        self._path, self._mux, self._opened_here = self._settings.control_path, master_at(self._settings.control_path), False
        if self._mux is None:
            asks = self._asks()
            with ASKING if asks else contextlib.nullcontext():
                self._path, self._mux = open_master(self._settings, ssh=ssh, config=self._config, asks=asks)
            self._opened_here = True
