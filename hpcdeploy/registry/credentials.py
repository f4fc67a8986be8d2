"""Find credentials for a registry in the files of docker, podman and Apptainer. The files are never changed."""

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
"""Run the credential helper in the first argument for the registry key in the second; return its exit code and output."""

# Time limit in seconds for a credential helper: some of them prompt the user to unlock a keyring.
_HELPER_TIMEOUT = 60.0
_DOCKER_HUB_KEYS = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_DOCKER_HUB_KEY = "https://index.docker.io/v1/"
_NAMED_BY = ", named by "
# The user name that a credential helper prints with an identity token (docker-credential-helpers, README).
_TOKEN_USER = "<token>"  # noqa: S105  # a marker, not a secret


@frozen
class Credentials:
    """A user name and password, or an identity token. A token service exchanges an identity token for access tokens.

    Attributes:
        source: Where the credentials were found, for messages: a file, or a credential helper and the file that names it.
        username: The user name; empty with an identity token from a helper.
        password: The password; empty if there is only an identity token.
        identity_token: The identity token; empty for none.
    """

    source: str
    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def file(self) -> str:
        """The path of the file that has the credentials, or that names the credential helper."""
        return self.source.rpartition(_NAMED_BY)[2]


@frozen
class Lookup:
    """The result of a search for credentials.

    Attributes:
        credentials: The credentials; None if no file has credentials for the registry.
        consulted: The files that were searched, in this order, each with the reason why it was not used, for messages.
    """

    credentials: Credentials | None
    consulted: tuple[str, ...]


def credential_files(environment: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    """Return the files that may have credentials, in the order of precedence. They need not exist.

    1. ``$REGISTRY_AUTH_FILE``, if it is set (containers-auth.json(5)).
    2. Apptainer's file: ``$APPTAINER_AUTH_FILE`` if it is set, else ``docker-config.json`` in Apptainer's folder. This
       folder is ``$APPTAINER_CONFIGDIR``, else ``$SINGULARITY_CONFIGDIR``, else ``~/.apptainer``.
    3. ``config.json`` in Apptainer's folder, if one of its variables is set and ``$APPTAINER_AUTH_FILE`` is not.
    4. docker's file: ``config.json`` in ``$DOCKER_CONFIG``, else in ``~/.docker``.

    The third file is needed because Apptainer uses it if ``docker-config.json`` does not exist. (Without the variables,
    Apptainer then uses ``~/.docker/config.json``.) ``apptainer registry login`` writes to the file that Apptainer reads.
    Source: Apptainer 1.2.3 to 1.5.3, ``SearchDockerConf`` and ``configDir`` in pkg/syfs/syfs.go, ``GetenvLegacy`` in
    internal/pkg/util/env/env.go.
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
    """Return a command that stores a password for `host` in a file that the next search reads first.

    If credentials were `found`, the command writes to their file, because they would take precedence over credentials in
    another file.
    """
    file = f"--authfile {word(found.file)} " if found and Path(found.file).is_absolute() else ""
    return f"apptainer registry login {file}--username USER oras://{host}"


def run_helper(program: str, key: str) -> tuple[int, str]:
    """Run ``PROGRAM get`` of a credential helper with `key` on standard input; return its exit code and output.

    Raises:
        FileNotFoundError: The program does not exist.
        TooMuchError: The program printed too much, or ran longer than `_HELPER_TIMEOUT`.
    """
    done = run_program([program, "get"], seconds=_HELPER_TIMEOUT, stdin=key.encode())
    return done.returncode, done.stdout.decode(errors="replace")


def find_credentials(reference: Reference, files: tuple[Path, ...], ask: AskHelper = run_helper) -> Lookup:
    """Find the credentials for a repository in the first of `files` that has some.

    Each file is searched in the order of docker: the credential helper for the host, the credential helper for all hosts,
    then the stored entries. An entry for a longer path of the registry (``host/path``) precedes one for a shorter path.

    Raises:
        ConfigError: A file cannot be read or is malformed, a credential helper printed malformed output, or an entry is not
            supported.
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
        # A JSONDecodeError contains the text of the file with all passwords. So it is not chained to the new error.
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
