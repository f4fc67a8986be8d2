"""Pass secrets to a build on this machine through named pipes, into which ``login/secrets.sh`` writes the values.

On a login node, ``login/secrets.sh`` is part of the script that builds. On this machine it runs in a separate bash process,
outside of any container. So it is always the built-in file, and never code from the project.
"""

import base64
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hpcdeploy.errors import BuildError, MissingProgramError
from hpcdeploy.image import Definition
from hpcdeploy.secret import SecretValue
from hpcdeploy.shell_script import library

PLACE = "/run/secrets"
"""The path in the container at which the folder with the pipes is mounted. Docker uses the same path for secrets."""


def check_secrets(definition: Definition, secrets: Mapping[str, SecretValue]) -> None:
    """Raise `BuildError` if `definition` uses a secret that `secrets` lacks."""
    missing = [name for name in definition.secrets if name not in secrets]
    if missing:
        raise BuildError(
            f"the build of {definition.name!r} uses the secret {missing[0]!r}, which has no value; set its variable or file"
        )


def secret_lines(secrets: Mapping[str, SecretValue]) -> bytes:
    """Return the secrets in the input format of ``login/secrets.sh``: a line ``NAME BASE64`` for each secret."""
    return b"".join(name.encode() + b" " + base64.b64encode(value.reveal()) + b"\n" for name, value in secrets.items())


def kept_back(secrets: Mapping[str, SecretValue]) -> frozenset[str]:
    """Return the names of the environment variables that contain secrets. No child process may inherit them."""
    return frozenset(value.variable for value in secrets.values() if value.variable)


@contextmanager
def serving(secrets: Mapping[str, SecretValue], folder: Path) -> Iterator[tuple[str, ...]]:
    """Serve `secrets` through pipes in the new `folder` until the block ends.

    Yields the options of ``apptainer build`` that mount the folder; none if there are no secrets.

    The server removes the folder and exits when its standard input is closed. So both also disappear if this process is
    killed.

    Raises:
        MissingProgramError: bash is missing.
        BuildError: The pipes cannot be created.
    """
    if not secrets:
        yield ()
        return
    bash = shutil.which("bash")
    if bash is None:
        raise MissingProgramError("bash is not on this machine's PATH; it serves the secrets of a build: install it")
    script = library(["secrets.sh"]) + '\nmake_secrets_folder "$1" && echo ready && serve_secrets "$1"; exit\n'
    hidden = {"BASH_ENV", *kept_back(secrets)}
    server = subprocess.Popen(
        [bash, "-s", "--", str(folder.absolute())],
        env={name: value for name, value in os.environ.items() if name not in hidden},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # so that Ctrl-C ends only the build, and the server exits after it
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        # bash reads a script from a pipe byte by byte (bash(1), -s). So the input after the script's last line is still
        # unread, and `serve_secrets` in that line reads it.
        server.stdin.write(script.encode())
        server.stdin.flush()
        if server.stdout.readline() != b"ready\n":
            raise BuildError(
                f"cannot make named pipes in {folder}, through which a build reads secrets (bash's message is above); set "
                "APPTAINER_TMPDIR to a folder in which mkfifo works"
            )
        server.stdin.write(secret_lines(secrets) + b"\n")
        server.stdin.flush()
        yield ("--bind", f"{escaped(folder.absolute())}:{PLACE}")
    finally:
        with server.stdout:
            server.stdin.close()
            server.wait()


def escaped(path: Path) -> str:
    """Escape a path for ``--bind``, where colon and comma are special (seen with Apptainer 1.4.5)."""
    return str(path).replace(":", "\\:").replace(",", "\\,")
