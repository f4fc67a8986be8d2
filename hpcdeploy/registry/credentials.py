"""Find the credentials of docker, podman and Apptainer for a registry; they are only read."""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from pathlib import Path

from hpcdeploy.checked_values import read_json
from hpcdeploy.errors import ConfigError
from hpcdeploy.frozen import frozen
from hpcdeploy.limits import TooMuchError, run_program
from hpcdeploy.registry.reference import DOCKER_HUB, Reference
from hpcdeploy.shell import word

AskHelper = Callable[[str, str], tuple[int, str]]
"""Run a credential helper for a registry's key; return its exit code and output."""

_HELPER_TIMEOUT = 60.0
_DOCKER_HUB_KEYS = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_DOCKER_HUB_KEY = "https://index.docker.io/v1/"
_NAMED_BY = ", named by "
# This user name marks an identity token (docker-credential-helpers, README).
_TOKEN_USER = "<token>"  # noqa: S105  # a marker, not a secret


@frozen
class Credentials:
    """A user's password, or an identity token that is exchanged for access tokens. ``source`` is where it was found."""

    source: str
    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def file(self) -> str:
        """The file with the entry, or with the name of the helper."""
        return self.source.rpartition(_NAMED_BY)[2]


@frozen
class Lookup:
    """The result of a search: the credentials, and all places that were searched, for an error message."""

    credentials: Credentials | None
    consulted: tuple[str, ...]


def credential_files(environment: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    """Return the files that may have credentials, the one with the highest precedence first.

    These are ``$REGISTRY_AUTH_FILE`` (containers-auth.json(5)), Apptainer's own (``$APPTAINER_AUTH_FILE``, else
    ``docker-config.json`` in ``$APPTAINER_CONFIGDIR``, formerly ``$SINGULARITY_CONFIGDIR``, or in ``~/.apptainer``), and
    docker's (``$DOCKER_CONFIG/config.json``, else ``~/.docker/config.json``).

    Without ``docker-config.json``, Apptainer uses ``.docker/config.json`` in the home folder, or ``config.json`` in the
    folder of the variable if that is set. ``apptainer registry login`` writes to the file that would be read (Apptainer
    1.2.3 to 1.5.3, ``SearchDockerConf`` and ``configDir`` in pkg/syfs/syfs.go, ``GetenvLegacy`` in
    internal/pkg/util/env/env.go).
    """
    named = environment.get("REGISTRY_AUTH_FILE", "")
    apptainer = environment.get("APPTAINER_AUTH_FILE", "")
    folder = environment.get("APPTAINER_CONFIGDIR", "") or environment.get("SINGULARITY_CONFIGDIR", "")
    docker = environment.get("DOCKER_CONFIG", "")
    return (
        *([Path(named)] if named else []),
        *([Path(apptainer)] if apptainer else [(Path(folder) if folder else home / ".apptainer") / "docker-config.json"]),
        *([Path(folder) / "config.json"] if folder and not apptainer else []),
        (Path(docker) if docker else home / ".docker") / "config.json",
    )


def login_command(host: str, found: Credentials | None) -> str:
    """Return the command that stores a password for `host` where the next search finds it.

    If credentials were `found`, their file must get the new ones, because it takes precedence.
    """
    file = f"--authfile {word(found.file)} " if found and Path(found.file).is_absolute() else ""
    return f"apptainer registry login {file}--username USER oras://{host}"


def run_helper(program: str, key: str) -> tuple[int, str]:
    """Run a ``docker-credential-*`` program for a registry's entry, with its protocol on standard input.

    Raises:
        FileNotFoundError: The program does not exist.
        TooMuchError: It printed too much, or ran too long.
    """
    done = run_program([program, "get"], seconds=_HELPER_TIMEOUT, stdin=key.encode())
    return done.returncode, done.stdout.decode(errors="replace")


def find_credentials(reference: Reference, files: tuple[Path, ...], ask: AskHelper = run_helper) -> Lookup:
    """Find the credentials for a repository: the first file that has some wins.

    In a file, the order is docker's own: a helper for the host, the helper for all hosts, then stored entries. An entry for
    a part of the registry (``host/path``) precedes one for all of it.

    Raises:
        ConfigError: A file cannot be read or is malformed.
    """
    consulted = []
    for path in files:
        if not path.is_file():
            consulted.append(f"{path} (does not exist)")
            continue
        config = _read_config(path)
        found, remark = _find_in(config, reference, str(path), ask)
        if found is not None:
            return Lookup(credentials=found, consulted=(*consulted, str(path)))
        consulted.append(f"{path} ({remark})")
    return Lookup(credentials=None, consulted=tuple(consulted))


def _read_config(path: Path) -> dict[str, object]:
    try:
        config = read_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"the credentials file {path} cannot be read: {error.strerror}; correct its permissions"
        ) from error
    except ValueError as error:
        # The error is not chained: its message quotes nothing of the file, but its cause contains the whole text.
        raise ConfigError(f"the credentials file {path} is not JSON; log in again to rewrite it") from (
            None if isinstance(error, json.JSONDecodeError) else error
        )
    if not isinstance(config, dict):
        raise ConfigError(f"the credentials file {path} is not a JSON object; log in again to rewrite it")
    return config


def _find_in(config: dict[str, object], reference: Reference, source: str, ask: AskHelper) -> tuple[Credentials | None, str]:
    remark = f"nothing for {reference.host}"
    for program, key in _helpers(config, reference):
        try:
            code, answer = ask(program, key)
        except FileNotFoundError:
            remark = f"names the program {program}, which is not installed"
            continue
        except TooMuchError:
            remark = f"names the program {program}, which did not answer"
            continue
        if code == 0:
            return _from_helper(answer, f"{program}{_NAMED_BY}{source}"), ""
    entries = config.get("auths")
    known = {_canonical(key): entry for key, entry in entries.items()} if isinstance(entries, dict) else {}
    for key in _keys(reference):
        entry = known.get(key)
        if isinstance(entry, dict) and (found := _from_entry(entry, source)) is not None:
            return found, ""
    return None, remark


def _helpers(config: dict[str, object], reference: Reference) -> Iterator[tuple[str, str]]:
    spelling = _DOCKER_HUB_KEY if reference.host == DOCKER_HUB else reference.host
    named = config.get("credHelpers")
    if isinstance(named, dict):
        suffixes = {_canonical(key): str(suffix) for key, suffix in named.items() if suffix}
        if reference.host in suffixes:
            yield f"docker-credential-{suffixes[reference.host]}", spelling
    store = config.get("credsStore")
    if isinstance(store, str) and store:
        yield f"docker-credential-{store}", spelling


def _keys(reference: Reference) -> Iterator[str]:
    words = reference.path.split("/")
    for length in range(len(words), 0, -1):
        yield "/".join((reference.host, *words[:length]))
    yield reference.host


def _canonical(key: str) -> str:
    bare = key.strip().removeprefix("https://").removeprefix("http://").rstrip("/")
    bare = bare.removesuffix("/v1").removesuffix("/v2")
    return DOCKER_HUB if bare in _DOCKER_HUB_KEYS else bare


def _from_entry(entry: Mapping[str, object], source: str) -> Credentials | None:
    identity = str(entry.get("identitytoken") or "")
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    packed = entry.get("auth")
    if isinstance(packed, str) and packed:
        try:
            username, colon, password = base64.b64decode(packed, validate=True).decode().rstrip("\0").partition(":")
        except ValueError:  # malformed base64, unknown characters, or malformed UTF-8
            colon = ""
        if not colon:
            raise ConfigError(
                f"the credentials file {source} has an entry that is not base64 of USER:PASSWORD; log in again"
            )
    if identity or password:
        return Credentials(source=source, username=username, password=password, identity_token=identity)
    if entry.get("registrytoken"):
        raise ConfigError(
            f"the credentials file {source} has a registrytoken, which is not supported; log in with a password"
        )
    return None


def _from_helper(answer: str, source: str) -> Credentials:
    try:
        fields = read_json(answer)
        username, secret = str(fields["Username"]), str(fields["Secret"])
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"the output of {source}, is malformed; expected JSON with Username and Secret") from None
    if username == _TOKEN_USER:
        return Credentials(source=source, identity_token=secret)
    return Credentials(source=source, username=username, password=secret)
