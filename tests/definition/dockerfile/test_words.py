"""Words with variables, as the Dockerfile reference and BuildKit's lexer read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcdeploy.definition.docker_text import quoted
from hpcdeploy.definition.dockerfile.words import Lexer, split_words
from hpcdeploy.errors import DefinitionError

VALUES = {"X": "x y", "EMPTY": "", "A1": "1"}


def lexer(escape: str = "\\", *, quotes: bool = True) -> Lexer:
    return Lexer(escape=escape, lookup=VALUES.get, quotes=quotes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$X", "x y"),
        ("${X}b", "x yb"),
        ("$NO", ""),
        ("${NO:-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${NO:-$X}", "x y"),
        ("${NO:-${A1}b}", "1b"),
        ("${X:+a}", "a"),
        ("${EMPTY:+a}", ""),
        ("${EMPTY+a}", "a"),
        ("${X:?m}", "x y"),
        ("\\$X", "$X"),
        ("'$X'", "$X"),
        ('"$X"', "x y"),
        ('"\\$X \\a"', "$X \\a"),
        ("a\\ b", "a b"),
        ("$", "$"),
        ("a$.b", "a$.b"),
        ("$A1b", ""),
        ("a\\", "a"),
    ],
)
def test_a_word_gets_its_values(text: str, expected: str) -> None:
    assert lexer().word(text) == expected


def test_a_value_falls_into_words_unless_it_is_quoted() -> None:
    assert lexer().words('a $X "$X"') == ("a", "x", "y", "x y")


def test_another_escape_character_leaves_the_backslash_alone() -> None:
    assert lexer("`").word("c:\\d `$X") == "c:\\d $X"


def test_quotes_mean_nothing_in_a_here_document() -> None:
    assert lexer(quotes=False).word("'$X' \"\\$X\" it's") == "'x y' \"$X\" it's"


@pytest.mark.parametrize(
    "text", ["${X#p}", "${X##p}", "${X%p}", "${X/a/b}", "${}", "${X", "${X:=d}", "'a", '"a', "${NO:?must}"]
)
def test_what_versions_of_docker_read_differently_is_refused(text: str) -> None:
    with pytest.raises(DefinitionError):
        lexer().word(text)


@given(st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"])))
def test_a_quoted_value_is_read_back(value: str) -> None:
    [word] = split_words(f"NAME={quoted(value, 'it')}", "\\")
    assert lexer().word(word.removeprefix("NAME=")) == value
