#!/bin/bash
# asyncssh 2.24.1 takes another user from the same ~/.ssh/config than ssh and paramiko 5.1.0 do. Seen on 2026-11-29, Python 3.11,
# OpenSSH 9.2p1 (any OpenSSH that has "ssh -G" can run this).
#
# Guess before the run: "Host a,b" is one pattern for all three, which matches no machine; Match exec works in all three; a duration such as
# "1m" is 60 seconds in asyncssh too.
# Seen:
#   - "Host login1,login2" has no effect in ssh and paramiko. asyncssh splits at the comma and uses the block
#   - in Match exec, asyncssh leaves %h and %n as they are, so a block that tests the name of the host is never used
#   - "ServerAliveInterval 1m" and "ConnectTimeout 30s" are errors in asyncssh (paramiko returns the text, ssh -G returns 60 and 30), and
#     then no connection can be made with that file
# So a tool that uses asyncssh may log in as another user, or not at all, where ssh works: test with both, or take the settings from ssh -G.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check asyncssh==2.24.1 paramiko==5.1.0
"$folder/venv/bin/python" - "$folder/config" <<'END_OF_PYTHON'
import subprocess
import sys
from pathlib import Path
import paramiko
from asyncssh.config import ConfigParseError, SSHClientConfig

path = Path(sys.argv[1])


def by_ssh(host, option):
    done = subprocess.run(["ssh", "-G", "-F", path, host], check=True, capture_output=True, text=True)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)[option.lower()]


def by_paramiko(host, option):
    return paramiko.SSHConfig.from_path(str(path)).lookup(host).get(option.lower(), "local")


def by_asyncssh(host, option):
    try:
        return SSHClientConfig.load(None, [path], False, False, False, "local", (), host, ()).get(option, "local")
    except ConfigParseError:
        return "refused"


def expect(config, host, option, expected):
    path.write_text(config)
    seen = by_ssh(host, option), by_paramiko(host, option), by_asyncssh(host, option)
    if seen != expected:
        sys.exit(f"{config!r} for {host} now gives {seen}, not {expected}")


local = "Host *\n  User local\n"  # what ssh uses for a user that no other block names
expect("Host login1,login2\n  User other\n" + local, "login2", "User", ("local", "local", "other"))
expect("Host login1 login2\n  User other\n" + local, "login2", "User", ("other", "other", "other"))
expect('Match exec "echo %h | grep -q login2"\n  User other\n' + local, "login2", "User", ("other", "other", "local"))
expect('Match exec "echo %n | grep -q login2"\n  User other\n' + local, "login2", "User", ("other", "other", "local"))
expect("Host *\n  ServerAliveInterval 1m\n", "login2", "ServerAliveInterval", ("60", "1m", "refused"))
expect("Host *\n  ConnectTimeout 30s\n", "login2", "ConnectTimeout", ("30", "30s", "refused"))
END_OF_PYTHON
echo "as seen with asyncssh 2.24.1 and paramiko 5.1.0"
