"""Looking up, never writing, the credentials that docker, podman and Apptainer keep for a registry."""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hpcdeploy.errors import ConfigError
from hpcdeploy.json_text import read_json
from hpcdeploy.limits import TooMuchError, run_program
from hpcdeploy.registry.reference import DOCKER_HUB, Reference
from hpcdeploy.shell import word

AskHelper = Callable[[str, str], tuple[int, str]]
"""Takes a credential program's name and a registry's key, gives its exit code and what it printed."""

_HELPER_TIMEOUT = 60.0
_DOCKER_HUB_KEYS = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_DOCKER_HUB_KEY = "https://index.docker.io/v1/"
_NAMED_BY = ", named by "
# Where a helper keeps an identity token it says so by this user name (docker-credential-helpers, README).
_TOKEN_USER = "<token>"  # noqa: S105  # a marker, not a secret


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """A user's password, or an identity token to be exchanged for access tokens. ``source`` says where it was found."""

    source: str
    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def file(self) -> str:
        """The file that holds the entry, or names the program that does."""
        return self.source.rpartition(_NAMED_BY)[2]


@dataclass(frozen=True, kw_only=True)
class Lookup:
    """What was found for a registry, and everything that was looked into, for the message if it does not suffice."""

    credentials: Credentials | None
    consulted: tuple[str, ...]


def credential_files(environment: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    """Name the files that may hold credentials, the one that wins first.

    ``$REGISTRY_AUTH_FILE`` (containers-auth.json(5)), Apptainer's own (``$APPTAINER_AUTH_FILE``, else ``docker-config.json``
    in ``$APPTAINER_CONFIGDIR``, by its older name ``$SINGULARITY_CONFIGDIR``, or in ``~/.apptainer``), then docker's
    (``$DOCKER_CONFIG/config.json``, else ``~/.docker/config.json``).

    Where there is no ``docker-config.json``, Apptainer falls back to ``.docker/config.json`` in the home folder; but to
    ``config.json`` in the folder of the variable where that is set. ``apptainer registry login`` writes to the file that
    would be read (Apptainer 1.2.3 to 1.5.3, ``SearchDockerConf`` and ``configDir`` in pkg/syfs/syfs.go, ``GetenvLegacy`` in
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
    """Return the command that stores a password for `host`, where the next lookup finds it.

    With credentials that were `found`, it is their file that must get the new ones: it would win again.
    """
    file = f"--authfile {word(found.file)} " if found and Path(found.file).is_absolute() else ""
    return f"apptainer registry login {file}--username USER oras://{host}"


def run_helper(program: str, key: str) -> tuple[int, str]:
    """Ask a ``docker-credential-*`` program for a registry's entry, over its standard input as its protocol says.

    Raises:
        FileNotFoundError: there is no such program.
        TooMuchError: it wrote too much, or took too long.
    """
    done = run_program([program, "get"], seconds=_HELPER_TIMEOUT, stdin=key.encode())
    return done.returncode, done.stdout.decode(errors="replace")


def find_credentials(reference: Reference, files: tuple[Path, ...], ask: AskHelper = run_helper) -> Lookup:
    """Find the credentials for a repository: the first file that has any wins.

    In a file, a helper named for the host comes before the store for all hosts, and that before what is written out
    (docker's own order); an entry for a part of the registry (``host/path``) before one for the whole.

    Raises:
        ConfigError: a file is there and cannot be read or understood.
    """
    consulted = []
    for path in files:
        if not path.is_file():
            consulted.append(f"{path} (not there)")
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
        raise ConfigError(f"The credentials file {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        # The parser's own message would quote nothing of the file, but its cause holds all of it: hence no chain.
        raise ConfigError(f"The credentials file {path} is not JSON; log in again to have it written anew.") from (
            None if isinstance(error, json.JSONDecodeError) else error
        )
    if not isinstance(config, dict):
        raise ConfigError(f"The credentials file {path} is not a JSON object; log in again to have it written anew.")
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
        except ValueError:  # of base64, also for characters that it does not know, and of UTF-8
            colon = ""
        if not colon:
            raise ConfigError(
                f"The credentials file {source} has an entry that is not base64 of USER:PASSWORD; log in again."
            )
    if identity or password:
        return Credentials(source=source, username=username, password=password, identity_token=identity)
    if entry.get("registrytoken"):
        raise ConfigError(
            f"The credentials file {source} has a registrytoken, which is not understood here; log in with a password."
        )
    return None


def _from_helper(answer: str, source: str) -> Credentials:
    try:
        fields = read_json(answer)
        username, secret = str(fields["Username"]), str(fields["Secret"])
    except (ValueError, KeyError, TypeError):
        raise ConfigError(
            f"The answer of {source}, is not what a credential program prints (Username and Secret)."
        ) from None
    if username == _TOKEN_USER:
        return Credentials(source=source, identity_token=secret)
    return Credentials(source=source, username=username, password=secret)
