"""Where the values of secrets are read from, and what is said when they are not there."""

import os
import traceback
from pathlib import Path

import pytest

from hpcdeploy.config.named_files import admit_all
from hpcdeploy.errors import ConfigError
from hpcdeploy.flows.secrets import check_given, parse_given, read_secrets
from hpcdeploy.image import ImageSettings, Secret
from hpcdeploy.source import PixiSource
from tests.special_files import SPECIAL

SETTINGS = ImageSettings(
    name="train",
    source=PixiSource(),
    secrets=(
        Secret(name="TOKEN", env="MY_TOKEN"),
        Secret(name="cert", file="certs/cert.pem"),
        Secret(name="home", file="~/token"),
    ),
)


def test_a_secret_comes_from_the_variable_or_the_file_that_the_settings_name_byte_by_byte(tmp_path: Path) -> None:
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs/cert.pem").write_bytes(b"\0binary\n\n")
    (tmp_path / "token").write_bytes(b"")
    environ = {"MY_TOKEN": "two\nlines \udcff\n", "HOME": str(tmp_path)}
    values = read_secrets(SETTINGS, ("TOKEN", "cert", "home"), tmp_path, environ)
    assert {name: value.reveal() for name, value in values.items()} == {
        "TOKEN": b"two\nlines \xff\n",
        "cert": b"\0binary\n\n",
        "home": b"",
    }
    assert [value.variable for value in values.values()] == ["MY_TOKEN", "", ""]


def test_only_what_is_asked_for_is_read(tmp_path: Path) -> None:
    assert list(read_secrets(SETTINGS, ("TOKEN",), tmp_path, {"MY_TOKEN": "x"})) == ["TOKEN"]
    assert read_secrets(SETTINGS, (), tmp_path, {}, given=(Secret(name="cert", file="nowhere"),)) == {}


def test_what_is_given_wins_and_its_files_are_those_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here/other").write_bytes(b"other")
    monkeypatch.chdir(tmp_path / "here")
    given = (parse_given("id=TOKEN,src=other"), parse_given("id=cert"))
    values = read_secrets(SETTINGS, ("TOKEN", "cert"), tmp_path, {"MY_TOKEN": "x", "cert": "y"}, given)
    assert {name: value.reveal() for name, value in values.items()} == {"TOKEN": b"other", "cert": b"y"}


@pytest.mark.parametrize(
    ("words", "secret"),
    [
        ("id=T", Secret(name="T", env="T")),
        ("id=T,env=MY", Secret(name="T", env="MY")),
        ("id=T,src=/a/b", Secret(name="T", file="/a/b")),
        ("id=T,source=a=b", Secret(name="T", file="a=b")),
        ("type=file,id=T,src=a", Secret(name="T", file="a")),
        ("type=env,id=T", Secret(name="T", env="T")),
        ("type=env,id=T,src=MY", Secret(name="T", env="MY")),
        ('id=T,"src=a,b"', Secret(name="T", file="a,b")),
    ],
)
def test_a_secret_is_given_as_to_docker_build(words: str, secret: Secret) -> None:
    assert parse_given(words) == secret


@pytest.mark.parametrize(
    "words",
    [
        "",
        "T",
        "id=",
        "env=T",
        "id=T,env=A,src=B",
        "id=T,id=U",
        "id=T,mode=4",
        "id=T,type=file",
        "id=T,type=disk",
        "id=T,env",
    ],
)
def test_other_words_are_refused_with_the_form_that_is_expected(words: str) -> None:
    with pytest.raises(ConfigError, match=r"expected id=NAME, id=NAME,env=VARIABLE or id=NAME,src=FILE"):
        parse_given(words)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("TOKEN", "the secret 'TOKEN' is to come from the variable MY_TOKEN, which is not set"),
        ("cert", r"the secret 'cert' is to come from the file .*/certs/cert\.pem, which cannot be read \(No such file"),
        ("TOKE", "asks for the secret 'TOKE', which 'secrets' of the image 'train' does not describe: did you mean 'TOKEN'"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_secrets(SETTINGS, (name,), tmp_path, {})


@pytest.mark.parametrize("given", [(), (Secret(name="TOKEN", env="OTHER"),)], ids=["settings", "--secret"])
def test_a_variable_that_is_set_and_empty_is_no_secret(tmp_path: Path, given: tuple[Secret, ...]) -> None:
    with pytest.raises(ConfigError, match=r"the variable (MY_TOKEN|OTHER), which is set, but empty"):
        read_secrets(SETTINGS, ("TOKEN",), tmp_path, {"MY_TOKEN": "", "OTHER": ""}, given)


def test_no_error_shows_the_value_of_another_secret(tmp_path: Path) -> None:
    environ = {"MY_TOKEN": "s3cr3t"}
    with pytest.raises(ConfigError) as caught:
        read_secrets(SETTINGS, ("TOKEN", "cert"), tmp_path, environ)
    assert "s3cr3t" not in "".join(traceback.format_exception(caught.value))


def test_a_value_that_somebody_wrote_into_the_option_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_given("id=TOKEN,value=s3cr3t")
    assert "s3cr3t" not in str(caught.value)


def test_a_given_secret_that_no_image_describes_is_refused() -> None:
    check_given((parse_given("id=TOKEN"),), [SETTINGS])
    with pytest.raises(ConfigError, match="'TOKN': did you mean 'TOKEN'"):
        check_given((parse_given("id=TOKN"),), [SETTINGS])


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("special", SPECIAL)
def test_the_settings_name_files_only_and_the_command_also_pipes(tmp_path: Path, special: str) -> None:
    place = tmp_path / "certs/cert.pem"
    place.parent.mkdir()
    with SPECIAL[special](place), pytest.raises(ConfigError, match=rf"cannot be read \(it is {special}, where a regular"):
        read_secrets(SETTINGS, ("cert",), tmp_path, {}, admit=admit_all)
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "wb") as end:
        end.write(b"value")
        end.close()
        given = (Secret(name="cert", file=f"/dev/fd/{reading}"),)  # as a shell's <(command)
        assert read_secrets(SETTINGS, ("cert",), tmp_path, {}, given)["cert"].reveal() == b"value"


def test_a_secret_of_absurd_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpcdeploy.flows.secrets.LARGEST_TEXT", 5)
    (tmp_path / "certs").mkdir()
    given = (Secret(name="cert", file=str(tmp_path / "certs/cert.pem")),)
    for size in (5, 6):
        (tmp_path / "certs/cert.pem").write_bytes(b"v" * size)
        for words in ((), given):
            if size == 5:
                assert read_secrets(SETTINGS, ("cert",), tmp_path, {}, words)["cert"].reveal() == b"vvvvv"
            else:
                with pytest.raises(ConfigError, match="the limit for such a file"):
                    read_secrets(SETTINGS, ("cert",), tmp_path, {}, words)
