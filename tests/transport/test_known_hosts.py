"""Our judgement of host keys against that of OpenSSH's own programs."""

import base64
import subprocess
from pathlib import Path

import pytest

from hpcdeploy.transport.known_hosts import KnownKey, fingerprint, judge, known_kinds, parse_known_hosts
from tests.transport.sshd import make_key, public_key


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("keys")
    return {
        "ed": public_key(make_key(folder / "ed")),
        "other": public_key(make_key(folder / "other")),
        "rsa": public_key(make_key(folder / "rsa", kind="rsa")),
        "ec": public_key(make_key(folder / "ec", kind="ecdsa")),
    }


def blob(line: str) -> bytes:
    return base64.b64decode(line.split()[1])


def read(*lines: str) -> tuple[KnownKey, ...]:
    return parse_known_hosts("\n".join(lines), "kh")


@pytest.mark.parametrize(
    ("hosts", "hostname", "port", "verdict"),
    [
        ("example.org", "example.org", 22, "known"),
        ("Example.ORG", "eXample.org", 22, "known"),
        ("example.org", "other.org", 22, "unknown"),
        ("a,example.org,b", "example.org", 22, "known"),
        ("*.org", "example.org", 22, "known"),
        ("exampl?.org", "example.org", 22, "known"),
        ("exampl[e].org", "example.org", 22, "unknown"),
        ("*.org,!example.org", "example.org", 22, "unknown"),
        ("!example.org,*.org", "example.org", 22, "unknown"),
        ("!example.org", "other.org", 22, "unknown"),
        ("[example.org]:2222", "example.org", 2222, "known"),
        ("[example.org]:2222", "example.org", 22, "unknown"),
        ("[example.org]:2223", "example.org", 2222, "unknown"),
        ("[*.org]:2222", "example.org", 2222, "known"),
        ("example.org", "example.org", 2222, "known"),
        ("[::1]:2222", "::1", 2222, "known"),
    ],
)
def test_a_host_is_found_as_openssh_finds_it(
    keys: dict[str, str], hosts: str, hostname: str, port: int, verdict: str
) -> None:
    assert judge(blob(keys["ed"]), hostname, port, None, read(f"{hosts} {keys['ed']} a comment")).verdict == verdict


def test_another_key_is_a_changed_one_even_of_another_kind(keys: dict[str, str]) -> None:
    lines = read("", "# comment", f"example.org {keys['rsa']}")
    found = judge(blob(keys["ed"]), "example.org", 22, None, lines)
    assert (found.verdict, found.places) == ("changed", ("kh:3",))


def test_another_key_under_the_bare_name_does_not_make_another_port_changed(keys: dict[str, str]) -> None:
    assert judge(blob(keys["ed"]), "example.org", 2222, None, read(f"example.org {keys['other']}")).verdict == "unknown"


def test_one_right_line_is_enough_wherever_it_stands(keys: dict[str, str]) -> None:
    lines = read(f"example.org {keys['other']}", f"* {keys['ed']}")
    assert judge(blob(keys["ed"]), "example.org", 22, None, lines).verdict == "known"


def test_a_revoked_key_stays_revoked_though_another_line_knows_it(keys: dict[str, str]) -> None:
    lines = read(f"example.org {keys['ed']}", f"@revoked * {keys['ed']}")
    found = judge(blob(keys["ed"]), "example.org", 22, None, lines)
    assert (found.verdict, found.places) == ("revoked", ("kh:2",))
    assert judge(blob(keys["ed"]), "example.org", 2222, None, lines).verdict == "revoked"
    assert judge(blob(keys["other"]), "example.org", 22, None, read(f"@revoked * {keys['ed']}")).verdict == "unknown"


def test_a_certificate_authority_is_no_host_key(keys: dict[str, str]) -> None:
    lines = read(f"@cert-authority *.org {keys['ed']}")
    assert judge(blob(keys["ed"]), "example.org", 22, None, lines).verdict == "authority"
    assert known_kinds("example.org", 22, None, lines) == ()


def test_an_alias_stands_for_host_and_port(keys: dict[str, str]) -> None:
    lines = read(f"login {keys['ed']}", f"[example.org]:2222 {keys['other']}")
    assert judge(blob(keys["ed"]), "example.org", 2222, "login", lines).verdict == "known"


@pytest.mark.parametrize(
    "junk", ["example.org", "example.org ssh-ed25519", "example.org ssh-ed25519 ???", "@other * x y", "@revoked"]
)
def test_a_line_that_says_nothing_is_passed_over(keys: dict[str, str], junk: str) -> None:
    assert [line.place for line in read(junk, f"example.org {keys['ed']}")] == ["kh:2"]


def test_hashed_names_are_those_that_ssh_keygen_writes(keys: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"example.org {keys['ed']}\n[example.org]:2222 {keys['rsa']}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(file)], check=True, capture_output=True)
    text = file.read_text()
    assert "example" not in text
    lines = parse_known_hosts(text, "kh")
    assert judge(blob(keys["ed"]), "example.org", 22, None, lines).verdict == "known"
    assert judge(blob(keys["rsa"]), "example.org", 2222, None, lines).verdict == "known"
    assert judge(blob(keys["ed"]), "example.net", 22, None, lines).verdict == "unknown"
    assert known_kinds("example.org", 2222, None, lines) == ("ssh-rsa",)


def test_a_broken_hash_matches_nothing(keys: dict[str, str]) -> None:
    lines = read(*(f"{hashed} {keys['ed']}" for hashed in ("|1|", "|1|x|y", "|1|||", "|2|YQ==|YQ==")))
    assert judge(blob(keys["ed"]), "example.org", 22, None, lines).verdict == "unknown"


def test_the_fingerprint_is_that_of_ssh_keygen(keys: dict[str, str]) -> None:
    for line in keys.values():
        done = subprocess.run(["ssh-keygen", "-l", "-f", "-"], input=line, capture_output=True, text=True, check=True)
        assert fingerprint(blob(line)) == done.stdout.split()[1]
