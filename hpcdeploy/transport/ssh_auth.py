"""Log in to a host with the agent's keys, the identity files, and prompts for a second factor."""

import contextlib
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from paramiko.agent import AgentSSH

from hpcdeploy.errors import AuthenticationError
from hpcdeploy.transport.prompts import Ask, answer_once
from hpcdeploy.transport.ssh_settings import SshSettings


class _Agent(AgentSSH):
    """An SSH agent at a given socket; paramiko's class only uses the socket in SSH_AUTH_SOCK."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(path)
            self._connect(self._socket)  # type: ignore[attr-defined]  # as in paramiko's own Agent
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        """Close the connection to the agent."""
        self._socket.close()


@dataclass
class _Attempts:
    """The login attempts so far, for the error message.

    Attributes:
        offered: The names of the keys that were offered.
        advice: Messages about keys that could not be used.
        wanted: The login methods that the server still accepts.
        asked: Whether the user was prompted.
    """

    offered: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    wanted: list[str] = field(default_factory=list)
    asked: bool = False


def authenticate(transport: paramiko.Transport, settings: SshSettings, ask: Ask | None, *, master: str) -> None:
    """Log in over `transport`, whose host key was checked.

    Keys are offered in OpenSSH's order (ssh_config(5), IdentityFile):

    1. the agent's keys that an IdentityFile names
    2. the agent's other keys, unless IdentitiesOnly is set
    3. the keys in files

    Each key is sent with its signature, which saves a round trip per key.

    Args:
        transport: The connection to the host.
        settings: The host's settings.
        ask: Prompts the user; None if that is not possible.
        master: The command that opens a connection to the last host with OpenSSH; the error message recommends it if the
            user cannot be prompted.

    Raises:
        AuthenticationError: The login failed, or the connection was closed; the message lists the attempts.
    """
    tried = _Attempts()
    with contextlib.ExitStack() as cleanup:
        for name, key in _keys(settings, tried, cleanup):
            tried.offered.append(name)
            try:
                tried.wanted = transport.auth_publickey(settings.user, key)
            except paramiko.BadAuthenticationType as error:
                tried.wanted = error.allowed_types
                break
            except paramiko.AuthenticationException:
                if not transport.is_active():
                    raise AuthenticationError(_closed_message(settings, tried)) from None
                continue
            except (paramiko.SSHException, EOFError, OSError) as error:
                if not transport.is_active():
                    raise AuthenticationError(_closed_message(settings, tried)) from error
                tried.advice.append(f"{name} could not sign ({error})")
                continue
            if not tried.wanted:
                return
            break
    _without_key(transport, settings, ask, tried, master)


def _without_key(
    transport: paramiko.Transport, settings: SshSettings, ask: Ask | None, tried: _Attempts, master: str
) -> None:
    """Log in with prompts, because no key was sufficient.

    Raises:
        AuthenticationError: The login failed, or the user cannot be prompted.
    """

    def prompt(question: str, visible: bool) -> str:  # noqa: FBT001 - positional, as in Ask
        assert ask is not None
        tried.asked = True
        return ask(question, visible)

    try:
        if not tried.wanted:
            tried.wanted = _methods(transport, settings.user)
            if not tried.wanted:
                return
        if ask and "keyboard-interactive" in tried.wanted and _interactive(transport, settings, prompt):
            return
        if ask and "password" in tried.wanted and not tried.asked:
            question = f"{settings.user}@{settings.alias}'s password: "
            if not transport.auth_password(settings.user, prompt(question, False), fallback=False):  # noqa: FBT003 - positional, as in Ask
                return
    except (paramiko.SSHException, EOFError, OSError) as error:
        if not transport.is_active():
            raise AuthenticationError(_closed_message(settings, tried)) from error
    raise AuthenticationError(_refusal_message(settings, tried, ask, master))


def _methods(transport: paramiko.Transport, user: str) -> list[str]:
    try:
        transport.auth_none(user)
    except paramiko.BadAuthenticationType as error:
        return list(error.allowed_types)
    return []


def _interactive(transport: paramiko.Transport, settings: SshSettings, ask: Ask) -> bool:
    """Show the server's prompts to the user, and send the answers; return whether the login succeeded."""

    def answer(title: str, instructions: str, prompts: list[tuple[str, bool]]) -> list[str]:
        heading = "\n".join(filter(None, (title.strip(), instructions.strip())))
        lead = f"({settings.user}@{settings.alias}) "
        questions = [
            (f"{heading}\n" if heading and not number else "") + lead + text for number, (text, _) in enumerate(prompts)
        ]
        return [ask(question, visible) for question, (_, visible) in zip(questions, prompts, strict=True)]

    try:
        return not transport.auth_interactive(settings.user, answer)
    except paramiko.AuthenticationException:
        # The error is ignored, because another method may work: a server may offer this method without having a prompt
        # (sshd without PAM).
        if not transport.is_active():
            raise
        return False


def _keys(settings: SshSettings, tried: _Attempts, cleanup: contextlib.ExitStack) -> Iterator[tuple[str, paramiko.PKey]]:
    """Yield the keys to offer, in the order that `authenticate` describes, each with a name for messages."""
    named = {blob: file for file in settings.identity_files if (blob := _public_blob(file))}
    in_agent = _agent_keys(settings, tried, cleanup)
    first = [key for blob in named for key in in_agent if key.asbytes() == blob]
    others = [] if settings.identities_only else [key for key in in_agent if key not in first]
    for key in first + others:
        yield f"the agent's key {key.comment or key.get_name()}", key
    held = {key.asbytes() for key in in_agent}
    for file in settings.identity_files:
        if file.is_file() and _public_blob(file) not in held:
            yield from _file_keys(file, settings, tried)


def _agent_keys(settings: SshSettings, tried: _Attempts, cleanup: contextlib.ExitStack) -> list[paramiko.AgentKey]:
    if not settings.identity_agent:
        return []
    try:
        agent = _Agent(settings.identity_agent)
    except (OSError, paramiko.SSHException) as error:
        tried.advice.append(f"the SSH agent at {settings.identity_agent} does not answer ({error})")
        return []
    cleanup.callback(agent.close)
    return list(agent.get_keys())


def _file_keys(file: Path, settings: SshSettings, tried: _Attempts) -> Iterator[tuple[str, paramiko.PKey]]:
    try:
        mode = file.stat().st_mode
        if stat.S_IMODE(mode) & 0o077:
            # OpenSSH ignores such a key too (authfile.c, sshkey_perm_ok).
            tried.advice.append(f"{file} is readable by others and is not used: run `chmod 600 {file}`")
            return
        key = _load(file)
    except TypeError:  # raised by the cryptography library if a passphrase is needed
        tried.advice.append(f"{file} is protected by a passphrase and is not in the SSH agent: run `ssh-add {file}` first")
        return
    except (OSError, ValueError, paramiko.SSHException, paramiko.pkey.UnknownKeyType) as error:
        if not _public_blob(file):
            tried.advice.append(f"{file} cannot be read as a private key ({error})")
        return
    for certificate in settings.certificate_files:
        with contextlib.suppress(OSError, ValueError):
            key.load_certificate(str(certificate))
    yield str(file), key
    if key.public_blob is not None:
        key.public_blob = None
        yield f"{file} without its certificate", key


def _load(file: Path) -> paramiko.PKey:
    """Load a private key, and its certificate ``FILE-cert.pub`` if there is one, as `paramiko.PKey.from_path` does.

    paramiko's function is not used for RSA keys, because it checks twice that the key's numbers are primes, which takes
    0.2 s. The check is not needed for the user's own key.
    """
    data = file.read_bytes()
    load = serialization.load_ssh_private_key if b"BEGIN OPENSSH" in data else serialization.load_pem_private_key
    loaded = load(data, None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(loaded, RSAPrivateKey):
        return paramiko.PKey.from_path(file)
    key = paramiko.RSAKey(key=loaded)
    certificate = Path(f"{file}-cert.pub")
    if certificate.exists():
        key.load_certificate(str(certificate))
    return key


def _public_blob(file: Path) -> bytes | None:
    """Return the public key of an identity file; None if it is unknown.

    The key is read from ``FILE.pub``, or from `file` itself if that is a public key.
    """
    for candidate in (Path(f"{file}.pub"), file):
        try:
            return paramiko.pkey.PublicBlob.from_file(str(candidate)).key_blob
        except (OSError, ValueError):
            continue
    return None


def _closed_message(settings: SshSettings, tried: _Attempts) -> str:
    return (
        f"{settings.alias} closed the connection after {_listed(tried)} for user {settings.user}: the server may allow "
        f"fewer attempts than there are keys; set one key with IdentityFile and 'IdentitiesOnly yes' for this host"
    )


def _refusal_message(settings: SshSettings, tried: _Attempts, ask: Ask | None, master: str) -> str:
    others = [method for method in tried.wanted if method in ("keyboard-interactive", "password")]
    no_key_accepted = "publickey" in tried.wanted or not tried.offered
    parts = [f"login as {settings.user} on {settings.alias} failed with {_listed(tried)}"]
    if not no_key_accepted:
        parts = [f"{settings.alias} accepted a key of user {settings.user} and requires more"]
    parts.extend(tried.advice)
    if tried.asked:
        parts.append("the server did not accept the answer; try again")
    elif no_key_accepted and not tried.advice:
        parts.append(f"check User and IdentityFile for this host, and that `{settings.login}` can log in")
    if ask is None and others:
        methods = " or ".join(others)
        parts.append(f"the server also accepts {methods}: run this command in a terminal, or {answer_once(master)}")
    if settings.gssapi and "gssapi-with-mic" in tried.wanted:
        parts.append(
            'for the server\'s Kerberos login, which only OpenSSH supports, set transport = "openssh" for this cluster'
        )
    return "; ".join(parts)


def _listed(tried: _Attempts) -> str:
    return ", ".join(tried.offered) if tried.offered else "no usable key"
