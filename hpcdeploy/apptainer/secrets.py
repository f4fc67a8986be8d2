"""A build's secrets on their way into the build: named pipes that ``login/secrets.sh`` serves.

On a login node the build's own script serves them; here a bash of its own does, from the same lines. It runs on this
machine outside of any container, so it is always the shipped one: nothing that a project's author wrote runs here unasked.
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
"""Where the folder of pipes is in the container; Docker's place for secrets."""


def check_secrets(definition: Definition, secrets: Mapping[str, SecretValue]) -> None:
    """Raise `BuildError` where a step asks for a secret of which no value was given."""
    missing = [name for name in definition.secrets if name not in secrets]
    if missing:
        raise BuildError(
            f"the build of {definition.name!r} asks for the secret {missing[0]!r}, and was given no value of it"
        )


def secret_lines(secrets: Mapping[str, SecretValue]) -> bytes:
    """Return the lines that the server takes: ``NAME BASE64``, one for each secret."""
    return b"".join(name.encode() + b" " + base64.b64encode(value.reveal()) + b"\n" for name, value in secrets.items())


def kept_back(secrets: Mapping[str, SecretValue]) -> frozenset[str]:
    """Return the variables that secrets came from: no child of this process is to inherit them."""
    return frozenset(value.variable for value in secrets.values() if value.variable)


@contextmanager
def serving(secrets: Mapping[str, SecretValue], folder: Path) -> Iterator[tuple[str, ...]]:
    """Serve `secrets` in the new `folder` until the block ends; give the options that ``build`` needs for it.

    The server ends, and the folder is gone, when this process ends, however it ends: they hang on a pipe that it holds."""
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
        # bash takes a script from a pipe byte by byte (bash(1), -s): what follows the last line is for that line's command.
        server.stdin.write(script.encode())
        server.stdin.flush()
        if server.stdout.readline() != b"ready\n":
            raise BuildError(f"cannot make named pipes in {folder}, by which a build reads secrets; see the lines above")
        server.stdin.write(secret_lines(secrets) + b"\n")
        server.stdin.flush()
        yield ("--bind", f"{_escaped(folder.absolute())}:{PLACE}")
    finally:
        with server.stdout:
            server.stdin.close()
            server.wait()


def _escaped(path: Path) -> str:
    """Write a path as ``--bind`` takes it: a colon and a comma are its own (seen with Apptainer 1.4.5)."""
    return str(path).replace(":", "\\:").replace(",", "\\,")
