"""Real docker-registry daemons on loopback, each with a storage folder of its own."""

import json
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_LISTENING = re.compile(r"listening on (127\.0\.0\.1:\d+)")
_PATIENCE = 20.0


@contextmanager
def serve(
    program: Path,
    folder: Path,
    *,
    http: Mapping[str, object] | None = None,
    storage: Path | None = None,
    **auth: Mapping[str, str],
) -> Iterator[str]:
    """Run the docker-registry at `program` on a port that the system picks; give ``127.0.0.1:PORT``.

    `http` and `auth` are added to those parts of its configuration; `storage` is where it keeps images, if not in `folder`.
    """
    folder.mkdir(parents=True)
    settings = {
        "version": "0.1",
        "log": {"level": "info", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(storage or folder / "storage")}, "delete": {"enabled": True}},
        "http": {"addr": "127.0.0.1:0", **(http or {})},
        **({"auth": auth} if auth else {}),
    }
    # JSON is YAML, and every daemon reads it.
    (folder / "config.yml").write_text(json.dumps(settings))
    log = folder / "log"
    with log.open("wb") as output:
        daemon = subprocess.Popen([program, "serve", folder / "config.yml"], stdout=output, stderr=output)
        try:
            yield _wait(daemon, log)
        finally:
            daemon.terminate()
            daemon.wait()


def _wait(daemon: "subprocess.Popen[bytes]", log: Path) -> str:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        match = _LISTENING.search(log.read_text())
        if match is not None:
            return match[1]
        assert daemon.poll() is None, log.read_text()
        time.sleep(0.02)
    raise AssertionError(log.read_text())
