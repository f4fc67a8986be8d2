"""The settings that OpenSSH itself would use for a host, as one frozen value."""

import hashlib
import os
import pwd
import re
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hpcdeploy.errors import ConfigError
from hpcdeploy.limits import TooMuchError, run_program
from hpcdeploy.transport.command_line import quoted
from hpcdeploy.transport.ssh_config import Options, config_files, read_options

DEFAULT_CONNECT_TIMEOUT = 20.0
"""Seconds; OpenSSH waits as long as the kernel does, which is minutes."""

DEFAULT_ALIVE_INTERVAL = 15.0
"""Seconds; OpenSSH never asks, and then never notices a connection that a firewall forgot."""

_IDENTITIES = ("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk")


@dataclass(frozen=True, kw_only=True)
class Hop:
    """One host of ProxyJump: a name of the configuration file, perhaps with a user and a port of its own."""

    host: str
    user: str | None = None
    port: int | None = None


@dataclass(frozen=True, kw_only=True)
class SshSettings:
    """How to reach one host.

    ``alias`` is the name asked for, ``login`` the command line by which a person gets there. Times are in seconds, paths
    absolute. ``host_key_algorithms`` is empty where the library's own order is taken; ``identity_agent`` is the agent's
    socket, or None where no agent is to be asked. ``control_path`` is where a connection that the person holds open is to be
    found, ``master`` the command line that opens it. ``public_key`` says whether keys may be offered, ``gssapi`` and
    ``pkcs11`` whether OpenSSH may also go in with a Kerberos ticket or a smart card, as paramiko cannot.
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
        """Whether OpenSSH has a way in that paramiko has not, and paramiko has no key to try. Looks for the key files."""
        keys = [file for file in self.identity_files if self.public_key and file.is_file()]
        plain = [file for file in keys if not file.name.endswith("_sk")]
        if plain or (self.public_key and self.identity_agent):
            return False
        return self.gssapi or self.pkcs11 or bool(keys)


@dataclass(frozen=True, kw_only=True)
class Person:
    """Who asks: what ``~``, ``%u``, ``%d``, ``%i`` and ``%L`` stand for, and the environment."""

    user: str
    uid: int
    home: Path
    machine: str
    environment: tuple[tuple[str, str], ...]


def this_person() -> Person:
    """Return the person of this process; the home folder is that of the user database, as for OpenSSH, not ``$HOME``."""
    uid = os.getuid()
    try:
        entry = pwd.getpwuid(uid)
        user, home = entry.pw_name, Path(entry.pw_dir)
    except KeyError:  # a user number without a name, as in some containers
        user, home = os.environ.get("USER", str(uid)), Path.home()
    return Person(user=user, uid=uid, home=home, machine=socket.gethostname(), environment=tuple(os.environ.items()))


def parse_ssh_g(text: str) -> Options:
    """Read what ``ssh -G`` prints: a keyword in lower case and its value a line; some keywords come several times."""
    options: Options = {}
    for line in text.splitlines():
        keyword, _, value = line.partition(" ")
        if value:
            options.setdefault(keyword.lower(), []).append(value)
    for keyword in ("userknownhostsfile", "globalknownhostsfile"):
        if keyword in options:
            # Printed without quotes: a blank parts two names only where another absolute name follows.
            options[keyword] = re.split(r"(?<!\s)\s+(?=[/~%$]|none$)", options[keyword][0])
    return options


def look_up(hop: Hop, *, config: str | None = None, person: Person, ssh: str | None) -> SshSettings:
    """Return the settings of `hop`, from the program `ssh` where there is one, else by reading the files ourselves.

    `config` is another configuration file, as for ``ssh -F``. Raises `ConfigError` where the configuration is wrong.
    """
    check_name(hop.host)
    if config is not None and not Path(os.path.expanduser(config)).is_file():  # noqa: PTH111 - must not raise
        raise ConfigError(f"the SSH configuration file {config} is not there; correct ssh_config of the cluster")
    given: Options = {}
    if hop.user:
        given["user"] = [hop.user]
    if hop.port:
        given["port"] = [str(hop.port)]
    if ssh:
        options = parse_ssh_g(_ask_ssh(ssh, hop, config))
    else:
        options = read_options(hop.host, config_files(config, person.home), local_user=person.user, given=given)
    return settings_from(hop.host, options, person, login=" ".join(map(quoted, (*ssh_argv("ssh", hop, config), hop.host))))


def find_ssh() -> str | None:
    """Return the OpenSSH client's path, if it is installed."""
    return shutil.which("ssh")


def check_name(host: str) -> None:
    """Raise `ConfigError` for what cannot be a host: ssh would take it for an option."""
    if not host or host.startswith("-") or any(letter.isspace() or not letter.isprintable() for letter in host):
        raise ConfigError(f"{host!r} is no host: expected a name of the SSH configuration, a host name or an address")


def ssh_argv(ssh: str, hop: Hop, config: str | None) -> list[str]:
    """Return the beginning of a command line of `ssh` for `hop`; its options and the host's name go behind it."""
    argv = [ssh]
    if config is not None:
        argv += ["-F", os.path.expanduser(config)]  # noqa: PTH111 - must not raise
    if hop.user:
        argv += ["-l", hop.user]
    if hop.port:
        argv += ["-p", str(hop.port)]
    return argv


def _ask_ssh(ssh: str, hop: Hop, config: str | None) -> str:
    argv = [*ssh_argv(ssh, hop, config), "-G", "-T", "--", hop.host]
    try:
        done = run_program(argv)
    except TooMuchError as error:
        raise ConfigError(f"ssh -G for {hop.host} wrote {error}, and was ended; look at its Match exec lines") from error
    if done.returncode:
        said = done.stderr.decode(errors="surrogateescape").strip().replace("\r\n", "; ").replace("\n", "; ")
        raise ConfigError(f"ssh does not understand its own configuration for {hop.host}: {said}")
    return done.stdout.decode(errors="surrogateescape")


def settings_from(host: str, options: Options, person: Person, *, login: str) -> SshSettings:
    """Make the settings of `host` from `options`: fill in defaults, expand ``~``, ``%`` and ``${...}``. Pure."""

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
    """Read ``[user@]host[:port]`` or ``ssh://...``, several parted by commas (ssh_config(5), ProxyJump)."""
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
    """Return the hosts to go through, `target` last.

    As ssh does it, the first host of a ProxyJump list is reached by its own settings, the others through the one before
    them. Two hosts may have one address, port and user, in two networks (10.0.0.1, localhost): ssh compares names, too
    (OpenSSH 9.2, ssh.c, "jumphost loop via"). Raises `ConfigError` where the jumps lead in a circle: a host comes again
    under the same name, and so with the same settings.
    """
    hosts = [target]
    while hosts[0].proxy_jump:
        jumps = [find(hop) for hop in hosts[0].proxy_jump]
        seen = {(host.alias, host.hostname, host.port, host.user) for host in hosts}
        if any((jump.alias, jump.hostname, jump.port, jump.user) in seen for jump in jumps):
            names = " -> ".join(host.alias for host in (*jumps, *hosts))
            raise ConfigError(f"ProxyJump leads in a circle: {names}; give the first of them 'ProxyJump none'")
        hosts = jumps + hosts
    return tuple(hosts)


def _control_path(configured: str, key: str, person: Person) -> tuple[Path, str]:
    """Return where the person's connection is to be found, and the option of ssh that says so where no file does.

    ``ssh -G`` has expanded what is configured. Without it no ssh is there to hold a connection open.
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
                raise ConfigError(f"SSH configuration: {text!r} asks for the variable {match[1]}, which is not set")
            return environment[match[1]]
        if match[2] not in tokens:
            allowed = " ".join("%" + letter for letter in tokens)
            raise ConfigError(
                f"SSH configuration: {text!r} holds %{match[2]}, which is not understood here; known: {allowed}"
            )
        return tokens[match[2]]

    if home and (text == "~" or text.startswith("~/")):
        text = str(person.home) + text[1:]
    return re.sub(r"\$\{(\w+)\}|%(.?)", token, text)
