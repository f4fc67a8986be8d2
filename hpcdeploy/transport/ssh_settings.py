"""Determine the settings that OpenSSH would use for a host."""

import hashlib
import os
import pwd
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

from hpcdeploy.errors import ConfigError
from hpcdeploy.frozen import frozen
from hpcdeploy.limits import TooMuchError, run_program
from hpcdeploy.transport.command_line import quoted
from hpcdeploy.transport.ssh_config import Options, config_files, read_options

DEFAULT_CONNECT_TIMEOUT = 20.0
"""Timeout for connecting in seconds, if ConnectTimeout is not set. OpenSSH then uses the kernel's timeout of minutes."""

DEFAULT_ALIVE_INTERVAL = 15.0
"""Time between keepalive requests in seconds, if ServerAliveInterval is not set.

OpenSSH then sends no requests, and does not notice that a firewall dropped an idle connection.
"""

_IDENTITIES = ("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk")


@frozen
class Hop:
    """One host of ProxyJump: a name in the configuration file, with an optional user and port."""

    host: str
    user: str | None = None
    port: int | None = None


@frozen
class SshSettings:
    """The settings of one host. Times are in seconds, paths absolute.

    Attributes:
        alias: The host's name as the user writes it.
        login: The command ``ssh ...`` with which the user logs in, for messages.
        hostname: The host's real name or address (HostName).
        port: The port of the SSH server.
        user: The user's name on the host.
        identity_files: The files of private keys.
        certificate_files: The files of certificates.
        identities_only: Only those keys of the agent are used that `identity_files` names.
        identity_agent: The path of the agent's socket; None to use no agent.
        known_hosts: The user's files of host keys.
        global_known_hosts: The system's files of host keys.
        host_key_alias: The name of the host in the files of host keys; None to use its hostname and port.
        host_key_algorithms: The accepted algorithms of host keys; empty for the default of paramiko.
        proxy_jump: The jump hosts, in the order in which they are passed; empty to connect directly.
        proxy_command: The shell command whose standard input and output are the connection; None to connect directly.
        address_family: ``any``, ``inet`` or ``inet6``.
        connect_timeout: Timeout for connecting.
        alive_interval: Time between keepalive requests.
        alive_count: Number of missing answers after which the connection is closed.
        control_path: The path of the socket of a connection that the user may have open (ControlPath).
        master: The command with which the user opens a connection at `control_path`.
        public_key: Login with keys is enabled.
        gssapi: OpenSSH may use a Kerberos ticket, which paramiko cannot.
        pkcs11: OpenSSH may use a smart card, which paramiko cannot.
    """

    alias: str
    login: str
    hostname: str
    port: int
    user: str
    identity_files: tuple[Path, ...]
    certificate_files: tuple[Path, ...]
    identities_only: bool
    identity_agent: str | None
    known_hosts: tuple[Path, ...]
    global_known_hosts: tuple[Path, ...]
    host_key_alias: str | None
    host_key_algorithms: tuple[str, ...]
    proxy_jump: tuple[Hop, ...]
    proxy_command: str | None
    address_family: str
    connect_timeout: float
    alive_interval: float
    alive_count: int
    control_path: Path
    master: str
    public_key: bool
    gssapi: bool
    pkcs11: bool

    @property
    def openssh_alone(self) -> bool:
        """Tell whether only OpenSSH can log in, because paramiko has no usable key. This checks which key files exist."""
        keys = [file for file in self.identity_files if self.public_key and file.is_file()]
        plain = [file for file in keys if not file.name.endswith("_sk")]
        if plain or (self.public_key and self.identity_agent):
            return False
        return self.gssapi or self.pkcs11 or bool(keys)


@frozen
class Person:
    """The local user and machine, whose values replace ``~`` and tokens such as ``%u`` in the configuration.

    Attributes:
        user: The user's name.
        uid: The user's number.
        home: The home folder.
        machine: The host name of this machine.
        environment: The environment variables.
    """

    user: str
    uid: int
    home: Path
    machine: str
    environment: tuple[tuple[str, str], ...]


def this_person() -> Person:
    """Return the user of this process. As in OpenSSH, the home folder is from the user database, not ``$HOME``."""
    uid = os.getuid()
    try:
        entry = pwd.getpwuid(uid)
        user, home = entry.pw_name, Path(entry.pw_dir)
    except KeyError:  # a user id without a name, as in some containers
        user, home = os.environ.get("USER", str(uid)), Path.home()
    return Person(user=user, uid=uid, home=home, machine=socket.gethostname(), environment=tuple(os.environ.items()))


def parse_ssh_g(text: str) -> Options:
    """Parse the output of ``ssh -G``: each line is a keyword in lower case and its value. A keyword may be repeated."""
    options: Options = {}
    for line in text.splitlines():
        keyword, _, value = line.partition(" ")
        if value:
            options.setdefault(keyword.lower(), []).append(value)
    for keyword in ("userknownhostsfile", "globalknownhostsfile"):
        if keyword in options:
            # ssh prints these names without quotes. So a blank is taken as a separator only if an absolute name follows.
            options[keyword] = re.split(r"(?<!\s)\s+(?=[/~%$]|none$)", options[keyword][0])
    return options


def look_up(hop: Hop, *, config: str | None = None, person: Person, ssh: str | None) -> SshSettings:
    """Return the settings of `hop`. They are taken from ``ssh -G`` if ssh is installed, else from the configuration files.

    Args:
        hop: The host.
        config: Another configuration file, as for ``ssh -F``.
        person: The local user.
        ssh: The path of the program ssh; None if it is not installed.

    Raises:
        ConfigError: The configuration is malformed, or `config` does not exist.
    """
    check_name(hop.host)
    if config is not None and not Path(os.path.expanduser(config)).is_file():  # noqa: PTH111 - must not raise
        raise ConfigError(f"the SSH configuration file {config} does not exist; correct ssh_config of the cluster")
    overriding: Options = {}
    if hop.user:
        overriding["user"] = [hop.user]
    if hop.port:
        overriding["port"] = [str(hop.port)]
    if ssh:
        options = parse_ssh_g(_run_ssh_g(ssh, hop, config))
    else:
        options = read_options(hop.host, config_files(config, person.home), local_user=person.user, overriding=overriding)
    return settings_from(hop.host, options, person, login=" ".join(map(quoted, (*ssh_argv("ssh", hop, config), hop.host))))


def find_ssh() -> str | None:
    """Return the path of the OpenSSH client; None if it is not installed."""
    return shutil.which("ssh")


def check_name(host: str) -> None:
    """Check that `host` can be a host's name, and is not an option of ssh.

    Raises:
        ConfigError: `host` is empty, begins with ``-``, or contains a blank or an unprintable character.
    """
    if not host or host.startswith("-") or any(letter.isspace() or not letter.isprintable() for letter in host):
        raise ConfigError(f"{host!r} is not a host: expected a name of the SSH configuration, a host name or an address")


def ssh_argv(ssh: str, hop: Hop, config: str | None) -> list[str]:
    """Return the first arguments of an `ssh` command for `hop`; the caller appends more options and the host's name."""
    argv = [ssh]
    if config is not None:
        argv += ["-F", os.path.expanduser(config)]  # noqa: PTH111 - must not raise
    if hop.user:
        argv += ["-l", hop.user]
    if hop.port:
        argv += ["-p", str(hop.port)]
    return argv


def _run_ssh_g(ssh: str, hop: Hop, config: str | None) -> str:
    argv = [*ssh_argv(ssh, hop, config), "-G", "-T", "--", hop.host]
    try:
        done = run_program(argv)
    except TooMuchError as error:
        raise ConfigError(f"ssh -G for {hop.host} wrote {error}, and was ended; check its Match exec lines") from error
    if done.returncode:
        message = done.stderr.decode(errors="surrogateescape").strip().replace("\r\n", "; ").replace("\n", "; ")
        raise ConfigError(f"ssh rejected its own configuration for {hop.host}: {message}")
    return done.stdout.decode(errors="surrogateescape")


def settings_from(host: str, options: Options, person: Person, *, login: str) -> SshSettings:
    """Return the settings of `host` from `options`: add defaults, and expand ``~``, ``%`` tokens and ``${...}``.

    Raises:
        ConfigError: A number is malformed, or a token or variable is unknown.
    """

    def first(keyword: str, default: str = "") -> str:
        value = options.get(keyword, [default])[0]
        return default if value.lower() == "none" else value

    def number(keyword: str, default: str) -> int:
        return _number(first(keyword.lower(), default), keyword, host)

    hostname = _expand(first("hostname", host), {"h": host, "%": "%"}, person)
    user = first("user", person.user)
    port = number("Port", "22")
    tokens = {
        "%": "%", "d": str(person.home), "h": hostname, "i": str(person.uid), "j": first("proxyjump"),
        "k": first("hostkeyalias", host), "L": person.machine.partition(".")[0], "l": person.machine, "n": host,
        "p": str(port), "r": user, "u": person.user,
    }  # fmt: skip

    def paths(keyword: str, default: tuple[str, ...]) -> tuple[Path, ...]:
        named = options.get(keyword, list(default))
        return tuple(Path(_expand(name, tokens, person)) for name in named if name.lower() != "none")

    command = first("proxycommand")
    control_path, chosen = _control_path(first("controlpath"), "\0".join((login, hostname, str(port), user)), person)
    preferred = first("preferredauthentications")
    return SshSettings(
        alias=host,
        login=login,
        hostname=hostname,
        port=port,
        user=user,
        identity_files=paths("identityfile", tuple(f"~/.ssh/{name}" for name in _IDENTITIES)),
        certificate_files=paths("certificatefile", ()),
        identities_only=first("identitiesonly") == "yes",
        identity_agent=_agent(options, tokens, person),
        known_hosts=paths("userknownhostsfile", ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")),
        global_known_hosts=paths("globalknownhostsfile", ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")),
        host_key_alias=first("hostkeyalias").lower() or None,
        host_key_algorithms=tuple(name for name in first("hostkeyalgorithms").split(",") if name),
        proxy_jump=parse_jump(first("proxyjump")),
        proxy_command=_expand(command, tokens, person, home=False) if command else None,
        address_family=first("addressfamily", "any"),
        connect_timeout=float(_number(first("connecttimeout", "0"), "ConnectTimeout", host)) or DEFAULT_CONNECT_TIMEOUT,
        alive_interval=float(_number(first("serveraliveinterval", "0"), "ServerAliveInterval", host))
        or DEFAULT_ALIVE_INTERVAL,
        alive_count=_number(first("serveralivecountmax", "3"), "ServerAliveCountMax", host),
        control_path=control_path,
        master=f"ssh -fNM {chosen}{login.removeprefix('ssh ')}",
        public_key=first("pubkeyauthentication") not in ("no", "false") and (not preferred or "publickey" in preferred),
        gssapi=first("gssapiauthentication") == "yes",
        pkcs11=bool(first("pkcs11provider")),
    )


def parse_jump(value: str) -> tuple[Hop, ...]:
    """Parse ``[user@]host[:port]`` or ``ssh://...``, separated by commas (ssh_config(5), ProxyJump).

    Raises:
        ConfigError: `value` is malformed.
    """
    hops = []
    for part in filter(None, value.split(",")):
        match = re.fullmatch(r"(?:ssh://)?(?:(.+)@)?(?:\[([^\]@]+)\]|([^:@/]+))(?::(\d+))?/?", part.strip())
        if not match:
            raise ConfigError(f"ProxyJump {value!r}: {part!r} is not of the form [user@]host[:port]")
        hop = Hop(host=match[2] or match[3], user=match[1], port=int(match[4]) if match[4] else None)
        check_name(hop.host)
        hops.append(hop)
    return tuple(hops)


def route(target: SshSettings, find: Callable[[Hop], SshSettings]) -> tuple[SshSettings, ...]:
    """Return the hosts of the connection, `target` last.

    As in ssh, the first host of a ProxyJump list is reached with its own ProxyJump or ProxyCommand. Each other host is
    reached through the host before it.

    Args:
        target: The settings of the last host.
        find: Returns the settings of a jump host.

    Raises:
        ConfigError: The jumps are circular: two hosts have the same name, address, port and user. As in ssh, names are
            compared too, because two hosts in different networks may have the same address, such as 10.0.0.1 (OpenSSH 9.2,
            ssh.c, "jumphost loop via").
    """
    hosts = [target]
    while hosts[0].proxy_jump:
        jumps = [find(hop) for hop in hosts[0].proxy_jump]
        seen = {(host.alias, host.hostname, host.port, host.user) for host in hosts}
        if any((jump.alias, jump.hostname, jump.port, jump.user) in seen for jump in jumps):
            names = " -> ".join(host.alias for host in (*jumps, *hosts))
            raise ConfigError(f"ProxyJump is circular: {names}; set 'ProxyJump none' for the first of them")
        hosts = jumps + hosts
    return tuple(hosts)


def _control_path(configured: str, key: str, person: Person) -> tuple[Path, str]:
    """Return the path of the socket of the user's connection, and an option of ssh for this path.

    The option is empty if ControlPath is configured. A configured path with ``%`` is ignored. ``ssh -G`` would have expanded
    the path, so ssh is not installed, and the user cannot have a connection of ssh open.
    """
    if configured.startswith("/") and "%" not in configured:
        return Path(configured), ""
    path = person.home / ".ssh" / f"hpcdeploy-{hashlib.sha256(os.fsencode(key)).hexdigest()[:16]}"
    return path, f"-S {quoted(str(path))} "


def _agent(options: Options, tokens: dict[str, str], person: Person) -> str | None:
    named = options.get("identityagent", ["SSH_AUTH_SOCK"])[0]
    environment = dict(person.environment)
    if named.lower() == "none":
        return None
    if named == "SSH_AUTH_SOCK":
        return environment.get("SSH_AUTH_SOCK") or None
    if named.startswith("$") and not named.startswith("${"):
        return environment.get(named[1:]) or None
    return _expand(named, tokens, person)


def _number(value: str, keyword: str, host: str) -> int:
    seconds = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", value, re.IGNORECASE)
    if not value or not seconds:
        raise ConfigError(f"SSH configuration of {host}: {keyword} is {value!r}, expected a number")
    hours, minutes, rest = (int(part or 0) for part in seconds.groups())
    return hours * 3600 + minutes * 60 + rest


def _expand(text: str, tokens: dict[str, str], person: Person, *, home: bool = True) -> str:
    environment = dict(person.environment)

    def token(match: re.Match[str]) -> str:
        if match[1] is not None:
            if match[1] not in environment:
                raise ConfigError(f"SSH configuration: {text!r} uses the variable {match[1]}, which is not set")
            return environment[match[1]]
        if match[2] not in tokens:
            allowed = " ".join("%" + letter for letter in tokens)
            raise ConfigError(f"SSH configuration: {text!r} has %{match[2]}, which is unknown here; known: {allowed}")
        return tokens[match[2]]

    if home and (text == "~" or text.startswith("~/")):
        text = str(person.home) + text[1:]
    return re.sub(r"\$\{(\w+)\}|%(.?)", token, text)
