"""The lab's conda channel on loopback, and a Pixi that knows it as a mirror."""

import functools
import http.server
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hpcdeploy_lab import channel


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Write no line for a request."""


@contextmanager
def served(folder: Path, packages: Iterable[channel.Package] = channel.PACKAGES) -> Iterator[Path]:
    """Serve the channel's packages in `folder`; yield a folder for PIXI_HOME whose settings name the server as a mirror."""
    place, home = folder / "channel", folder / "pixi-home"
    channel.write(place, packages)
    handler = functools.partial(_Quiet, directory=str(place))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        home.mkdir()
        (home / "config.toml").write_text(f'[mirrors]\n"{channel.URL}" = ["http://127.0.0.1:{server.server_port}"]\n')
        try:
            yield home
        finally:
            server.shutdown()
