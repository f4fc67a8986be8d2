"""Our reading of OpenSSH's configuration against OpenSSH's own."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.errors import ConfigError
from hpcdeploy.transport.ssh_config import ConfigFiles, read_options, words
from hpcdeploy.transport.ssh_settings import (
    Hop,
    Person,
    SshSettings,
    find_ssh,
    look_up,
    parse_jump,
    parse_ssh_g,
    route,
    settings_from,
    this_person,
)

CONFIGS = {
    "alias": "Host x\n  HostName real.example.org\n  User me\n  Port 2222\n",
    "first value wins": "Host x\n  Port 1\n  Port 2\nHost *\n  Port 3\n  User later\n",
    "before any Host": "User all\nHost y\n  Port 9\n",
    "wildcards": "Host ?\n  User one\nHost *.org\n  Port 9\n",
    "negation": "Host * !x\n  Port 9\nHost !x *\n  User notx\nHost x !y\n  User yes\n",
    "several patterns": "Host a b x c\n  Port 4\n",
    "case of names": "HOST X\n  Port 5\nhOsT x\n  pOrT 4\n",
    "case in match": "Match host X user ROOT\n  Port 5\nMatch host X\n  Port 6\n",
    "equals": "Host=x\n  Port = 4\n  User=me\n  HostName   =   h.example\n",
    "quotes": 'Host "x"\n  User "me"\n  IdentityFile "/tmp/with space/key"\n  IdentityFile /tmp/plain\n',
    "single quotes": "Host 'x'\n  User 'me'\n  IdentityFile '/tmp/with space/key'\n  IdentityFile /tmp/plain\n",
    "quotes in a word": "Host x\n  IdentityFile /tmp/\"a b\"/'c d'e\n  UserKnownHostsFile '/tmp/a'\"/b\" /tmp/'c'\n",
    "quotes in quotes": 'Host x\n  IdentityFile "/tmp/it\'s"\n  IdentityFile \'/tmp/"said"\'\n',
    "escapes": "Host x\n  IdentityFile /tmp/a\\'b\\\"c\\\\d\\ e\\f\n  IdentityFile '/tmp/a\\'b\\ c'\n",
    "comment signs": "Host x # it's\n  IdentityFile '/tmp/a # b' # c\n  IdentityFile /tmp/d#e\n",
    "include in quotes": "Include '{folder}/more'\nHost x\n  Port 9\n",
    "match in quotes": 'Match host "x"\n  Port 5\n',
    "comments": "# a\n\nHost x # trailing\n  # b\n  Port 4 # four\n",
    "tokens": "Host x\n  HostName %h.example.org\n  User me\n  Port 23\n"
    "  IdentityFile ~/.ssh/%r@%h:%p-%n-%u-%i-%%\n  IdentityFile %d/k\n",
    "known hosts": "Host x\n  UserKnownHostsFile ~/a /tmp/b\n  GlobalKnownHostsFile /dev/null\n",
    "known hosts none": "Host x\n  UserKnownHostsFile none\n",
    "identities": "Host x\n  IdentityFile ~/a\n  IdentityFile ~/b\nHost *\n  IdentityFile ~/c\n  IdentityFile ~/a\n",
    "identities only": "Host x\n  IdentitiesOnly yes\n  IdentityFile none\n",
    "certificate": "Host x\n  CertificateFile ~/a-cert.pub\n",
    "agent": "Host x\n  IdentityAgent none\n",
    "agent socket": "Host x\n  IdentityAgent ~/agent.sock\n",
    "agent variable": "Host x\n  IdentityAgent $OTHER_AGENT\n",
    "environment": "Host x\n  IdentityFile ${KEYS}/k\n",
    "jump": "Host x\n  ProxyJump me@one:2200,two\n",
    "jump before command": "Host x\n  ProxyJump one\n  ProxyCommand nc %h %p\n",
    "command before jump": "Host x\n  ProxyCommand nc -x proxy:1080 %h %p 2>/dev/null # kept\n  ProxyJump one\n",
    "jump none": "Host x\n  ProxyJump none\nHost *\n  ProxyJump one\n",
    "command none": "Host x\n  ProxyCommand none\nHost *\n  ProxyCommand nc %h %p\n",
    "times": "Host x\n  ConnectTimeout 7\n  ServerAliveInterval 1m30s\n  ServerAliveCountMax 5\n",
    "family": "Host x\n  AddressFamily inet6\n",
    "key alias": "Host x\n  HostKeyAlias Login\n",
    "key algorithms": "Host x\n  HostKeyAlgorithms ssh-ed25519,rsa-sha2-256\n",
    "match all": "Match all\n  Port 4\n",
    "match host": "Host x\n  HostName h.example.org\nMatch host *.example.org\n  Port 4\nMatch host x\n  Port 5\n",
    "match originalhost": "Host x\n  HostName h.example.org\nMatch originalhost y,x\n  Port 4\n",
    "match user": "Host x\n  User me\nMatch user me host x\n  Port 4\nMatch user you\n  Port 5\n",
    "match negated": "Match !host y\n  Port 4\nMatch !originalhost x\n  Port 5\n  User no\n",
    "match localuser": "Match localuser nobody-of-this-name\n  Port 5\nMatch !localuser nobody-of-this-name\n  Port 6\n",
    "match canonical": "Match canonical\n  Port 5\n",
    "include": "Include {folder}/more\nHost x\n  Port 9\n",
    "include glob": "Include {folder}/d/*.conf\n",
    "include glob of bytes": "Include {folder}/e/??\n",
    "include glob and hidden files": "Include {folder}/h/*\n",
    "include glob in folders": "Include {folder}/*/inner/?.conf\n",
    "include glob of two full stops": "Include {folder}/.*/h/.x\n",
    "include glob of all below": "Include {folder}/**/deep.conf\n",
    "include set": "Include {folder}/d/[!b].conf {folder}/d/[a\n",
    "include in a block": "Host y\n  Include {folder}/more\nHost x\n  Include {folder}/more\n  HostName h.example.org\n",
    "include that ends in a block": "Host x\n  Include {folder}/ends\n  Port 77\n",
    "include missing": "Include {folder}/nothing {folder}/more\n",
    "include below a file": "Include {folder}/more/x {folder}/more\n",
    "include nested": "Include {folder}/outer\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "more").write_text("Host x\n  User included\nHost *\n  Port 44\n")
    (tmp_path / "ends").write_text("Host nobody\n  Port 1\n")
    (tmp_path / "outer").write_text(f"Include {tmp_path}/more\nHost x\n  HostName outer.example.org\n")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "b.conf").write_text("User b\nPort 2\n")
    (tmp_path / "d" / "a.conf").write_text("User a\n")
    (tmp_path / "d" / "c.other").write_text("HostName wrong\n")
    for name, user in {
        "e/\u00e4": "bytes",
        "h/.x": "hidden",
        "g/inner/a.conf": "inner",
        ".g/inner/a.conf": "wrong",
        "g/inner/deeper/deep.conf": "wrong",
        "g/deep.conf": "deep",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"User {user}\n")
    return tmp_path


def both(config: Path, host: str = "x", user: str | None = None, port: int | None = None) -> tuple[SshSettings, SshSettings]:
    hop, person = Hop(host=host, user=user, port=port), this_person()
    ssh = find_ssh()
    assert ssh
    return look_up(hop, config=str(config), person=person, ssh=ssh), look_up(
        hop, config=str(config), person=person, ssh=None
    )


def same_words(settings: SshSettings) -> SshSettings:
    """Remove defaults that ssh -G adds, and settings that are left to the library."""
    return replace(
        settings, host_key_algorithms=settings.host_key_algorithms if len(settings.host_key_algorithms) < 5 else ()
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_both_ways_read_the_same(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYS", "/tmp/keys")
    monkeypatch.setenv("OTHER_AGENT", "/tmp/other-agent")
    config = folder / "config"
    config.write_text(CONFIGS[name].replace("{folder}", str(folder)))
    asked, read = both(config)
    ours = [path for path in asked.identity_files if path.name not in ("id_xmss", "id_dsa")]  # kinds that paramiko has not
    assert same_words(replace(asked, identity_files=tuple(ours))) == same_words(read)


def test_the_comparison_would_notice_a_difference(folder: Path) -> None:
    config = folder / "config"
    config.write_text("Host x\n  Port 2222\n")
    asked, _ = both(config)
    assert asked.port == 2222
    assert both(folder / "more")[1].port == 44


def test_user_and_port_of_a_hop_come_before_the_files(folder: Path) -> None:
    config = folder / "config"
    config.write_text("Host x\n  User file\n  Port 1\n  IdentityFile /k/%r-%p\nMatch user hop\n  HostName matched\n")
    for settings in both(config, user="hop", port=9):
        assert (settings.user, settings.port, settings.hostname) == ("hop", 9, "matched")
        assert settings.identity_files == (Path("/k/hop-9"),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Match exec true\n  Port 4\n", r"config:1: 'Match exec' can only be evaluated by OpenSSH"),
        ("Match final\n  Port 4\n", r"config:1: Match final needs|config:1: 'Match final'"),
        ("Host x\n  Port\n", r"config:2: expected a keyword and its value, found 'Port'"),
        ("Host x\n  Port many\n", r"Port is 'many', expected a number"),
        ('Host "x\n', r"config:1: a double quote is not closed"),
        ("Host 'x\n", r"config:1: a single quote is not closed"),
        ("Host x\n  User 'a\"\n", r"config:2: a single quote is not closed"),
        ("Host x\n  IdentityFile %Z\n", r"has %Z, which is unknown"),
        ("Host x\n  IdentityFile ${HPCDEPLOY_NOT_SET}/k\n", r"HPCDEPLOY_NOT_SET, which is not set"),
        ("Include {folder}/config\n", r"Include is nested deeper than 16 files"),
        ("Host x\n  ProxyJump a@b@c:x\n", r"not of the form"),
    ],
)
def test_what_cannot_be_judged_is_said_with_its_place(text: str, said: str, folder: Path) -> None:
    config = folder / "config"
    config.write_text(text.replace("{folder}", str(folder)))
    with pytest.raises(ConfigError, match=said):
        look_up(Hop(host="x"), config=str(config), person=this_person(), ssh=None)


def test_what_ssh_itself_refuses_is_passed_on(folder: Path) -> None:
    (folder / "config").write_text("Host x\n  Porto 4\n")
    with pytest.raises(ConfigError, match=r"(?i)porto"):
        look_up(Hop(host="x"), config=str(folder / "config"), person=this_person(), ssh=find_ssh())


def test_a_configuration_file_that_is_not_there_is_an_error(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no-such-file does not exist"):
        look_up(Hop(host="x"), config=str(folder / "no-such-file"), person=this_person(), ssh=find_ssh())


@pytest.mark.parametrize("host", ["", "-oProxyCommand=touch x", "a b", "a\nb", "a\x07"])
def test_what_is_no_host_never_reaches_ssh(host: str) -> None:
    with pytest.raises(ConfigError, match="is not a host"):
        look_up(Hop(host=host), person=this_person(), ssh="/bin/false")


def test_the_persons_file_comes_before_the_machines_and_includes_start_from_each(tmp_path: Path) -> None:
    home, system = tmp_path / "home" / ".ssh", tmp_path / "etc"
    for folder, user in ((home, "person"), (system, "machine")):
        folder.mkdir(parents=True)
        (folder / "config").write_text("Include more\n")
        (folder / "more").write_text(f"Host x\n  User {user}\n  IdentityFile /{user}\n")
    files = ConfigFiles(files=((home / "config", home), (system / "config", system)), home=tmp_path / "home")
    options = read_options("x", files, local_user="me")
    assert options == {"user": ["person"], "identityfile": ["/person", "/machine"]}


def test_without_any_file_the_defaults_are_openssh_s() -> None:
    person = Person(user="me", uid=7, home=Path("/home/me"), machine="m.example.org", environment=(("SSH_AUTH_SOCK", "/a"),))
    settings = settings_from("Host.example", {}, person, login="ssh Host.example")
    assert (settings.hostname, settings.port, settings.user) == ("Host.example", 22, "me")
    assert settings.known_hosts == (Path("/home/me/.ssh/known_hosts"), Path("/home/me/.ssh/known_hosts2"))
    assert settings.identity_agent == "/a"
    assert settings.proxy_jump == ()


def test_names_with_blanks_are_told_apart_in_what_ssh_prints() -> None:
    options = parse_ssh_g("userknownhostsfile /a b/kh /c/kh2 ~/d\nport 22\nidentityfile /a b\nidentityfile /c\nproxyjump\n")
    assert options["userknownhostsfile"] == ["/a b/kh", "/c/kh2", "~/d"]
    assert options["identityfile"] == ["/a b", "/c"]
    assert "proxyjump" not in options


def test_jumps_are_read_in_every_form() -> None:
    assert parse_jump("a") == (Hop(host="a"),)
    assert parse_jump("me@a:1,[::1]:2,ssh://you@b:3/,x@y@z") == (
        Hop(host="a", user="me", port=1),
        Hop(host="::1", port=2),
        Hop(host="b", user="you", port=3),
        Hop(host="z", user="x@y"),
    )
    assert parse_jump("") == ()


def test_a_route_goes_through_all_jumps_and_those_of_the_first(folder: Path) -> None:
    config = folder / "config"
    config.write_text("Host x\n  ProxyJump a,b\nHost a\n  ProxyJump c\nHost b\n  ProxyJump nowhere\n")

    def find(hop: Hop) -> SshSettings:
        return look_up(hop, config=str(config), person=this_person(), ssh=find_ssh())

    assert [host.alias for host in route(find(Hop(host="x")), find)] == ["c", "a", "b", "x"]


@pytest.mark.parametrize("asks_ssh", [True, False])
def test_two_hosts_with_one_address_port_and_user_are_no_circle(folder: Path, *, asks_ssh: bool) -> None:
    config = folder / "config"
    config.write_text("Host inner door\n  HostName 10.0.0.1\n  User me\nHost inner\n  ProxyJump door\n")

    def find(hop: Hop) -> SshSettings:
        return look_up(hop, config=str(config), person=this_person(), ssh=find_ssh() if asks_ssh else None)

    assert [host.alias for host in route(find(Hop(host="inner")), find)] == ["door", "inner"]


def test_jumps_in_a_circle_are_an_error(folder: Path) -> None:
    config = folder / "config"
    config.write_text("Host *\n  ProxyJump jump\n")

    def find(hop: Hop) -> SshSettings:
        return look_up(hop, config=str(config), person=this_person(), ssh=None)

    with pytest.raises(ConfigError, match="jump -> jump -> x"):
        route(find(Hop(host="x")), find)


def test_words_are_split_as_ssh_splits_them() -> None:
    assert words(r'a "b c" d\ e "f\"g" # h', "here") == ["a", "b c", "d e", 'f"g']
    assert words("a' 'b \"\" 'c \"d' #e'", "here") == ["a b", "", 'c "d']


def test_home_is_that_of_the_user_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nowhere")
    assert this_person().home != Path("/nowhere")
    assert this_person().uid == os.getuid()
