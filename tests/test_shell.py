import os
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcdeploy import shell
from hpcdeploy.errors import ConfigError

WORDS = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1, max_size=8)


@given(WORDS)
@settings(max_examples=200, deadline=None)
def test_a_shell_reads_the_very_words(words: list[str]) -> None:
    said = subprocess.run(["sh", "-c", f"printf '%s\\0' {shell.words(tuple(words))}"], capture_output=True, check=True)
    assert said.stdout.decode().split("\0")[:-1] == words


def test_a_nul_is_refused() -> None:
    with pytest.raises(ConfigError, match="NUL"):
        shell.word("a\0b")


def expanded(path: str, **environment: str) -> str:
    said = subprocess.run(
        ["bash", "-c", f"printf '%s' {shell.path(path)}"], capture_output=True, env=environment, text=True, check=True
    )
    return said.stdout


def test_a_path_is_expanded_over_there_and_nothing_else_in_it_is() -> None:
    assert expanded("$SCRATCH/a b/${USER}", SCRATCH="/s s", USER="u") == "/s s/a b/u"
    assert expanded("/a/$(touch pwned)`b`/*") == "/a/$(touch pwned)`b`/*"
    assert expanded("/price/5$") == "/price/5$"
    assert expanded("~/x", HOME="/home/me") == "/home/me/x"


def test_an_unset_variable_names_itself_instead_of_another_folder() -> None:
    failed = subprocess.run(
        ["bash", "-c", f"printf '%s' {shell.path('$SCRATCH/x')}"],
        capture_output=True,
        env={"PATH": os.environ["PATH"]},
        check=False,
    )
    assert failed.returncode != 0
    assert b"SCRATCH: is not set" in failed.stderr


def test_a_path_with_a_line_break_is_refused() -> None:
    with pytest.raises(ConfigError, match="line break"):
        shell.path("/a\nb")
