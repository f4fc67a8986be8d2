"""A login node over a connection of OpenSSH's: the person's own where one is open, else one that ssh(1) opens for us."""

import contextlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from hpcdeploy.errors import ConnectionLostError, MissingProgramError, TransportError
from hpcdeploy.transport.asking import ASKING, somebody_is_there
from hpcdeploy.transport.openssh_master import open_master
from hpcdeploy.transport.openssh_mux import LostMasterError, Mux, NoMasterError, Session, master_at
from hpcdeploy.transport.pump import SilenceError
from hpcdeploy.transport.ssh_settings import Hop, SshSettings, find_ssh, look_up, this_person
from hpcdeploy.transport.streamed import StreamedTransport

_OPENING = 60.0
"""Seconds in which a server is to give a channel, where the command itself may be silent for ever."""


class OpensshTransport(StreamedTransport):
    """Runs commands and copies files over a connection that ssh(1) made, so that all that OpenSSH can lets us in.

    `host` is a name of the SSH configuration, `config` another configuration file (``ssh -F``), `settings` what is set for
    the host where somebody has looked already. A connection that the person holds open (ControlMaster) is ridden on, and
    never ended. Where there is none, one is opened that is this process's own: it is gone after `close`, and soon after this
    process where that is killed.
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
        self._held: Mux | None = None
        self._own = False
        self._lock = threading.Lock()

    @property
    def where(self) -> str:
        """The machine, for messages: the name by which it was asked for."""
        return self._host

    def begin(self, _argv: Sequence[str]) -> None:
        """Do nothing: to find an open connection takes no time, and ssh asks the person as soon as it runs."""

    def close(self) -> None:
        """Let go of the connection, and end it where it is our own."""
        with self._lock:
            self._leave()

    def _leave(self) -> None:
        held, self._held = self._held, None
        if held is None:
            return
        if self._own:
            held.end_master()
            self._path.unlink(missing_ok=True)  # it takes its name away a moment after it lets go of us
        held.close()

    def _start(self, line: bytes, task: str, timeout: float | None) -> Session:
        patience = min(timeout or _OPENING, _OPENING)
        try:
            return self._session(line, patience)
        except SilenceError:
            message = (
                f"{self.where}: nothing was heard for {patience:g} s, so this was given up: {task}; it may still run there. "
                f"If the connection is dead, end it: `ssh -S {self._path} -O exit {self._host}`"
            )
            raise ConnectionLostError(message) from None
        except LostMasterError as error:
            raise ConnectionLostError(self._lost(task)) from error
        except NoMasterError as error:
            message = f"the connection to {self.where} went away ({error}) before anything was done to {task}; try again"
            raise TransportError(message) from error

    def _session(self, line: bytes, patience: float) -> Session:
        """Open a session, over a second connection where the first has gone before anything was asked of it."""
        for last in (False, True):
            path = self._connected()
            try:
                talk = Mux(path)
                try:
                    with self._opening():
                        return talk.open_session(line, patience=patience)
                except BaseException:
                    talk.close()
                    raise
            except NoMasterError:
                self._turn_from(path)
                if last:
                    raise
        raise AssertionError("the loop returns or raises")

    def _connected(self) -> Path:
        with self._lock:
            if self._held is not None and not self._held.lasts():
                self._held.close()
                self._held = None
            if self._held is None:
                self._connect()
            return self._path

    def _turn_from(self, path: Path) -> None:
        """Take another connection next time: this one may be alive, for who is there, and have no door any more.

        So it is after ``ssh -O stop``, and where the runtime folder went because the person logged out.
        """
        with self._lock:
            if self._held is not None and self._path == path:
                self._held.close()
                self._held = None

    def _connect(self) -> None:
        ssh = self._ssh()
        if ssh is None:
            message = 'the program ssh is not installed here; install OpenSSH\'s client, or set transport to "paramiko"'
            raise MissingProgramError(message)
        if self._settings is None:
            self._settings = look_up(Hop(host=self._host), config=self._config, person=this_person(), ssh=ssh)
        self._path, self._held, self._own = self._settings.control_path, master_at(self._settings.control_path), False
        if self._held is None:
            asks = self._asks()
            with ASKING if asks else contextlib.nullcontext():
                self._path, self._held = open_master(self._settings, ssh=ssh, config=self._config, asks=asks)
            self._own = True
