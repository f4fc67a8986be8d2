import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from hpcdeploy.errors import ConfigError
from hpcdeploy.registry.credentials import Credentials, credential_files, find_credentials, login_command, run_helper
from hpcdeploy.registry.lookup import registry_of
from hpcdeploy.registry.reference import parse_reference

GHCR = parse_reference("ghcr.io/me/train")
HUB = parse_reference("docker.io/me/train")


def packed(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def no_helper(program: str, _key: str) -> tuple[int, str]:
    raise FileNotFoundError(program)


def written(path: Path, **config: Any) -> Path:
    path.write_text(json.dumps(config))
    return path


def test_files_are_looked_into_in_a_defined_order(tmp_path: Path) -> None:
    assert credential_files({}, tmp_path) == (tmp_path / ".apptainer/docker-config.json", tmp_path / ".docker/config.json")
    named = {"REGISTRY_AUTH_FILE": "/a.json", "APPTAINER_AUTH_FILE": "/b.json", "DOCKER_CONFIG": "/c"}
    assert credential_files(named, tmp_path) == (Path("/a.json"), Path("/b.json"), Path("/c/config.json"))
    docker = tmp_path / ".docker/config.json"
    own = (Path("/d/docker-config.json"), Path("/d/config.json"), docker)
    assert credential_files({"APPTAINER_CONFIGDIR": "/d"}, tmp_path) == own
    assert credential_files({"SINGULARITY_CONFIGDIR": "/d"}, tmp_path) == own
    assert credential_files({"SINGULARITY_CONFIGDIR": "/e", "APPTAINER_CONFIGDIR": "/d"}, tmp_path) == own
    assert credential_files({"APPTAINER_CONFIGDIR": "/d", "APPTAINER_AUTH_FILE": "/b"}, tmp_path) == (Path("/b"), docker)


def test_the_command_that_logs_in_again_writes_where_the_wrong_password_was_found(tmp_path: Path) -> None:
    file = written(tmp_path / "a file.json", auths={"ghcr.io": packed("a", "one")})
    found = find_credentials(GHCR, (file,), no_helper).credentials
    assert login_command("ghcr.io", found) == (
        f"apptainer registry login --authfile '{tmp_path}/a file.json' --username USER oras://ghcr.io"
    )
    helper = Credentials(source=f"docker-credential-pass, named by {file}", username="a", password="b")
    assert helper.file == str(file)
    assert login_command("h:5000", None) == "apptainer registry login --username USER oras://h:5000"


def test_the_first_file_with_an_entry_wins(tmp_path: Path) -> None:
    empty = written(tmp_path / "empty.json", auths={})
    first = written(tmp_path / "first.json", auths={"ghcr.io": packed("a", "one")})
    second = written(tmp_path / "second.json", auths={"ghcr.io": packed("b", "two")})
    found = find_credentials(GHCR, (tmp_path / "missing.json", empty, first, second), no_helper)
    assert found.credentials == Credentials(source=str(first), username="a", password="one")
    assert found.consulted == (f"{tmp_path / 'missing.json'} (does not exist)", f"{empty} (nothing for ghcr.io)", str(first))


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("ghcr.io", "ghcr.io/me/train"),
        ("https://ghcr.io", "ghcr.io/me/train"),
        ("https://ghcr.io/v2/", "ghcr.io/me/train"),
        ("https://index.docker.io/v1/", "docker.io/me/train"),
        ("docker.io", "docker.io/me/train"),
        ("registry-1.docker.io", "index.docker.io/me/train"),
        ("localhost:5000", "localhost:5000/x"),
    ],
)
def test_a_registrys_entry_is_found_under_every_key_that_tools_write(key: str, text: str, tmp_path: Path) -> None:
    file = written(tmp_path / "config.json", auths={key: packed("me", "colon:in:it")})
    found = find_credentials(parse_reference(text), (file,), no_helper).credentials
    assert found is not None
    assert (found.username, found.password) == ("me", "colon:in:it")


@pytest.mark.parametrize("key", ["evil-ghcr.io", "ghcr.io.example.org", "ghcr.io:444", "ghcr.io/other", "io"])
def test_another_registrys_entry_is_never_taken(key: str, tmp_path: Path) -> None:
    file = written(tmp_path / "config.json", auths={key: packed("me", "secret")})
    assert find_credentials(GHCR, (file,), no_helper).credentials is None


def test_the_entry_for_a_part_of_the_registry_comes_first(tmp_path: Path) -> None:
    file = written(tmp_path / "c.json", auths={"ghcr.io": packed("all", "x"), "ghcr.io/me": packed("part", "y")})
    found = find_credentials(GHCR, (file,), no_helper).credentials
    assert found is not None
    assert found.username == "part"


def test_an_identity_token_is_understood(tmp_path: Path) -> None:
    file = written(tmp_path / "c.json", auths={"ghcr.io": {**packed("<token>", ""), "identitytoken": "abc"}})
    found = find_credentials(GHCR, (file,), no_helper).credentials
    assert found is not None
    assert found.identity_token == "abc"


def helper(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_a_real_credential_program_is_asked_over_its_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path, "docker-credential-test", 'read key; printf \'{"Username":"%s","Secret":"from helper"}\' "$1-$key"')
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    file = written(tmp_path / "c.json", credsStore="test", auths={"ghcr.io": {}})
    found = find_credentials(GHCR, (file,)).credentials
    assert found == Credentials(
        source=f"docker-credential-test, named by {file}", username="get-ghcr.io", password="from helper"
    )
    hub = find_credentials(HUB, (file,)).credentials
    assert hub is not None
    assert hub.username == "get-https://index.docker.io/v1/"


def test_a_hosts_own_program_comes_before_the_store_for_all(tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []

    def ask(program: str, key: str) -> tuple[int, str]:
        asked.append((program, key))
        return (
            (1, "credentials not found in native keychain")
            if program.endswith("own")
            else (0, '{"Username":"<token>","Secret":"t"}')
        )

    file = written(tmp_path / "c.json", credsStore="all", credHelpers={"ghcr.io": "own"})
    found = find_credentials(GHCR, (file,), ask).credentials
    assert asked == [("docker-credential-own", "ghcr.io"), ("docker-credential-all", "ghcr.io")]
    assert found is not None
    assert (found.username, found.identity_token) == ("", "t")


def test_a_program_that_is_not_installed_is_passed_over_and_named(tmp_path: Path) -> None:
    file = written(tmp_path / "c.json", credsStore="desktop")
    found = find_credentials(GHCR, (file,), no_helper)
    assert found.credentials is None
    assert found.consulted == (f"{file} (names the program docker-credential-desktop, which is not installed)",)
    with pytest.raises(FileNotFoundError):
        run_helper("docker-credential-that-nobody-has", "ghcr.io")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{not json, canary", "is not JSON"),
        ("[]", "not a JSON object"),
        ('{"auths": {"ghcr.io": {"auth": "!!canary"}}}', "USER:PASSWORD"),
        ('{"auths": {"ghcr.io": {"auth": "Y2FuYXJ5"}}}', "USER:PASSWORD"),
        ('{"auths": {"ghcr.io": {"auth": "canary\u0080"}}}', "USER:PASSWORD"),
        ('{"auths": {"ghcr.io": {"registrytoken": "canary"}}}', "registrytoken"),
    ],
)
def test_a_broken_file_is_named_and_nothing_of_it_is_shown(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_text(content)
    with pytest.raises(ConfigError, match=message) as caught:
        find_credentials(GHCR, (file,), no_helper)
    assert str(file) in str(caught.value)
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_broken_answer_of_a_program_is_not_shown(tmp_path: Path) -> None:
    file = written(tmp_path / "c.json", credsStore="x")
    with pytest.raises(ConfigError, match="docker-credential-x") as caught:
        find_credentials(GHCR, (file,), lambda _program, _key: (0, "canary"))
    assert "canary" not in str(caught.value)


def test_secrets_are_in_no_representation() -> None:
    shown = repr(Credentials(source="a file", username="me", password="canary", identity_token="canary"))
    assert "me" in shown
    assert "canary" not in shown


def test_a_registry_gets_the_token_service_that_the_persons_settings_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("REGISTRY_AUTH_FILE", "APPTAINER_AUTH_FILE", "APPTAINER_CONFIGDIR", "DOCKER_CONFIG"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "hpcdeploy").mkdir()
    (tmp_path / "hpcdeploy" / "config.toml").write_text('[registries."r.example.org"]\ntoken-service = "g.example.org"\n')
    services = [registry_of(f"oras://{host}/a/b")._token_service for host in ("r.example.org", "s.example.org")]
    assert services == ["g.example.org", ""]
