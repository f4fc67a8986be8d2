"""A secret's value is shown by nothing, and taken out of what others show."""

import base64
import pickle
import traceback
from collections.abc import Callable

import pytest

from hpcdeploy.secret import MASK, SecretValue, masking

TOKEN = 'it\'s "s3cr3t" $HOME ✓'


@pytest.mark.parametrize("show", [repr, str, "{}".format, "{!r}".format, lambda value: repr({"TOKEN": value})])
def test_nothing_that_prints_a_secret_shows_it(show: object) -> None:
    assert callable(show)
    assert "s3cr3t" not in show(SecretValue(TOKEN.encode()))
    assert MASK in show(SecretValue(TOKEN.encode()))


def test_a_secret_is_not_pickled() -> None:
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(SecretValue(b"s3cr3t"))


def test_a_traceback_with_all_its_variables_shows_no_secret() -> None:
    value = SecretValue(b"s3cr3t")

    def fail(secrets: dict[str, SecretValue]) -> None:
        raise ValueError(secrets)

    try:
        fail({"TOKEN": value})
    except ValueError as error:
        told = traceback.TracebackException.from_exception(error, capture_locals=True)
        assert "s3cr3t" not in "".join(told.format())


@pytest.mark.parametrize(
    "shown",
    [
        TOKEN,
        f"before {TOKEN} after {TOKEN}",
        "+ : 'it'\\''s \"s3cr3t\" $HOME ✓'",
        "+ : 'it'\"'\"'s \"s3cr3t\" $HOME ✓'",
        '{"token": "it\'s \\"s3cr3t\\" $HOME \\u2713"}',
        "https://x:it%27s%20%22s3cr3t%22%20%24HOME%20%E2%9C%93@host/",
        "it%27s+%22s3cr3t%22+%24HOME+%E2%9C%93",
        f"TOKEN {base64.b64encode(TOKEN.encode()).decode()}",
    ],
)
def test_a_secret_is_masked_as_it_stands_and_as_programs_spell_it(shown: str) -> None:
    masked = masking([SecretValue(TOKEN.encode())])(shown)
    assert MASK in masked
    assert "s3cr3t" not in masked
    assert base64.b64encode(TOKEN.encode()).decode() not in masked


ODD = "s3cr/t+To\\k<n>&12:45@✓;x"


@pytest.mark.parametrize(
    "shown",
    [
        "s3cr/t%2BTo%5Ck%3Cn%3E%2612%3A45%40%E2%9C%93%3Bx",  # Python's quote
        "s3cr%2ft%2bTo%5ck%3cn%3e%2612%3a45%40%e2%9c%93%3bx",
        "s3cr/t%2bTo%5ck%3cn%3e%2612%3a45%40%e2%9c%93%3bx",
        "s3cr%2Ft+To%5Ck%3Cn%3E&12%3A45%40%E2%9C%93;x",  # Go's user
        "s3cr%2Ft+To%5Ck%3Cn%3E&12:45@%E2%9C%93%3Bx",  # Go's path segment
        "s3cr/t+To%5Ck%3Cn%3E&12:45@%E2%9C%93;x",  # encodeURI
        r"s3cr\/t+To\\k<n>&12:45@\u2713;x",
        r"s3cr\/t+To\\k<n>&12:45@✓;x",
        r"s3cr/t+To\\k\u003cn\u003e\u002612:45@✓;x",
        r"s3cr\/t+To\\k\u003Cn\u003E\u002612:45@\u2713;x",
    ],
)
def test_a_secret_is_masked_in_a_url_and_in_json_as_other_programs_write_them(shown: str) -> None:
    assert masking([SecretValue(ODD.encode())])(f"<{shown}>") == f"<{MASK}>"


def test_every_line_of_a_secret_is_masked_unless_it_is_too_short_to_be_told_from_other_text() -> None:
    mask = masking([SecretValue(b"-----BEGIN\nfirst line\r\nabc\n\n  last\xff line\n")])
    assert mask("first line") == MASK
    assert mask("a last� line") == f"a {MASK}"
    assert mask("abc and nothing") == "abc and nothing"


SEVERAL = b"first line\nsecond ~~?? line\r\nthird\rlast\n"


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize(
    "part",
    [
        SEVERAL,
        SEVERAL.rstrip(b"\n"),
        *(b"second ~~?? line", b"second ~~?? line\n", b"second ~~?? line\r\n"),
        *(b"first line\n", b"third", b"last\n"),
    ],
)
def test_the_value_and_each_of_its_lines_is_masked_in_base64_with_and_without_its_line_break(
    encode: Callable[[bytes], bytes], part: bytes
) -> None:
    masked = masking([SecretValue(SEVERAL)])(f"<{encode(part).decode()}>")
    assert masked.replace("=", "") == f"<{MASK}>"


@pytest.mark.parametrize("before", [b"", b"u:", b"us:", b"use:", b"user:"])
@pytest.mark.parametrize("behind", [b"", b"\n", b"@host"])
def test_a_value_inside_of_a_longer_text_in_base64_is_masked(before: bytes, behind: bytes) -> None:
    token = bytes(range(40, 70))
    encoded = base64.b64encode(before + token + behind).decode()
    masked = masking([SecretValue(token + b"\n")])(encoded)
    assert masked.count(MASK) == 1
    # What is left is the text around it: at most two characters hold bits of the value too.
    left = masked.replace(MASK, "").rstrip("=")
    assert len(left) <= len(base64.b64encode(before + behind).decode().rstrip("=")) + 2


@pytest.mark.parametrize("width", [64, 76])
def test_a_value_in_wrapped_base64_is_masked(width: int) -> None:
    value = bytes(range(256)) + b"\n"
    encoded = base64.b64encode(value).decode()
    mask = masking([SecretValue(value)])
    lines = [encoded[start : start + width] for start in range(0, len(encoded), width)]
    assert {mask(line).rstrip("=") for line in lines} == {MASK}


def test_a_secret_with_a_carriage_return_is_masked_in_each_of_its_parts() -> None:
    mask = masking([SecretValue(b"before\rbehind")])
    assert mask("before") == mask("behind") == MASK
    assert mask("a before\rbehind b") == f"a {MASK}\r{MASK} b"


def test_a_secret_that_holds_another_is_masked_whole() -> None:
    assert masking([SecretValue(b"short"), SecretValue(b"short and long")])("say short and long, short") == "say ***, ***"


def test_without_secrets_a_text_stays_as_it_is() -> None:
    assert masking([])("text") == "text"
    assert masking([SecretValue(b"")])("text") == "text"
