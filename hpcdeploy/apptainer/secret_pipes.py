"""Pass a build's secrets into the build, with named pipes that ``login/secrets.sh`` serves.

On a login node the build's own script serves them; here a separate bash does, with the same lines. It runs outside of any
container, so the built-in script is always used: no code of a project's author runs here unasked.
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
"""The folder of pipes in the container; Docker's path for secrets."""


def check_secrets(definition: Definition, secrets: Mapping[str, SecretValue]) -> None:
    """Raise `BuildError` if a step uses a secret without a value."""
    missing = [name for name in definition.secrets if name not in secrets]
    if missing:
        raise BuildError(f"the build of {definition.name!r} uses the secret {missing[0]!r}, which has no value")


def secret_lines(secrets: Mapping[str, SecretValue]) -> bytes:
    """Return the server's input: a line ``NAME BASE64`` for each secret."""
    return b"".join(name.encode() + b" " + base64.b64encode(value.reveal()) + b"\n" for name, value in secrets.items())


def kept_back(secrets: Mapping[str, SecretValue]) -> frozenset[str]:
    """Return the variables of secrets, which no child process may inherit."""
    return frozenset(value.variable for value in secrets.values() if value.variable)


@contextmanager
def serving(secrets: Mapping[str, SecretValue], folder: Path) -> Iterator[tuple[str, ...]]:
    """Serve `secrets` in the new `folder` until the block ends; yield the options of ``build`` for it.

    The server and the folder disappear when this process ends for any reason, because they depend on a pipe that it holds.

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
        start_new_session=True,  # Ctrl-C is for the build; the server ends after it
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        # bash reads a script from a pipe byte by byte (bash(1), -s): input after the last line belongs to that line's
        # command.
        server.stdin.write(script.encode())
        server.stdin.flush()
        if server.stdout.readline() != b"ready\n":
            raise BuildError(
                f"cannot make named pipes in {folder}, which a build needs to read secrets; see the lines above"
            )
        server.stdin.write(secret_lines(secrets) + b"\n")
        server.stdin.flush()
        yield ("--bind", f"{_escaped(folder.absolute())}:{PLACE}")
    finally:
        with server.stdout:
            server.stdin.close()
            server.wait()


def _escaped(path: Path) -> str:
    """Escape a path for ``--bind``, where colon and comma are special (seen with Apptainer 1.4.5)."""
    return str(path).replace(":", "\\:").replace(",", "\\,")
