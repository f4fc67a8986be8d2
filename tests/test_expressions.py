"""No regular expression and no pattern takes quadratic time: what is long, repeats and nearly fits is seen through at once.

Measured is the time of the processor, which other processes do not change: a linear expression takes some milliseconds for
these texts, a quadratic one more than what it is given by the factor of ten.
"""

import random
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hpcdeploy.definition.dockerfile.matching import match_source, read_ignore
from hpcdeploy.definition.dockerfile.parsing import parse_dockerfile
from hpcdeploy.environments.pixi_lock import read_lock
from hpcdeploy.errors import DefinitionError, HpcdeployError
from hpcdeploy.flows.ignoring import leaves_out, read_rules
from hpcdeploy.flows.remote_files import read_listing
from hpcdeploy.flows.sending import Sending
from hpcdeploy.flows.ssh_includes import included
from hpcdeploy.limits import Lines
from hpcdeploy.login_node import read_answer
from hpcdeploy.parcel import Parcel
from hpcdeploy.registry.challenges import next_page, parse_challenges
from hpcdeploy.scheduler.answers import read_answers
from hpcdeploy.transport.patterns import matches
from hpcdeploy.wildcards import FOLDERS, STAR, joined
from tests.expressions import expressions, texts

LENGTH = 30_000
"""Characters: some milliseconds for what is linear, seconds for what is quadratic."""

SECONDS = 1.0
"""Of the processor, for one expression and one text."""

EVERY = [one for one in expressions() if one.pattern is not None]


class TooSlowError(Exception):
    """It took longer than `SECONDS`."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise `TooSlowError` after so many seconds of this process's time; the module re looks for signals as it goes."""

    def end(*_: object) -> None:
        raise TooSlowError

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def test_the_search_finds_expressions_and_would_find_a_slow_one() -> None:
    assert len(EVERY) > 150
    slow = re.compile(r"\s*%")

    def every_text() -> None:
        for text in texts(slow, LENGTH):
            with within(SECONDS):
                slow.search(text)

    with pytest.raises(TooSlowError):
        every_text()


@pytest.mark.parametrize("expression", EVERY, ids=str)
def test_no_expression_goes_back_over_a_long_text(expression: object) -> None:
    for text in texts(expression.pattern, LENGTH):  # type: ignore[attr-defined]
        given = text.encode("utf-8", "replace") if isinstance(expression.pattern.pattern, bytes) else text  # type: ignore[attr-defined]
        for use in expression.uses:  # type: ignore[attr-defined]
            with within(SECONDS):
                getattr(expression.pattern, use)(given)  # type: ignore[attr-defined]


def sending(text: str) -> None:
    one = Sending(b"", Parcel(what="x", source="x", path="x", sha256="x", size=1), range(1), lambda *_: None)
    for letter in text:
        one.take(letter.encode())


def lines(text: str) -> None:
    cut = Lines()
    for letter in text:
        list(cut.take(letter.encode()))


def dockerfile(text: str) -> object:
    return parse_dockerfile(f"FROM x\n{text}")


PARSERS: dict[str, Callable[[str], object]] = {
    "challenge": parse_challenges,
    "link": next_page,
    "answer": lambda text: read_answer(text.encode()),
    "sections": lambda text: read_answers(text.encode(), "F"),
    "listing": lambda text: read_listing("output", text.encode()),
    "what a receiver says": sending,
    "lines": lines,
    "SSH Include": lambda text: list(included(f"Include {text}", Path("x"), 9)),
    "pixi.lock": read_lock,
    "Dockerfile": dockerfile,
    "Dockerfile, one word": lambda text: dockerfile(f"ENV A={text}"),
}
REPEATED = (
    *("a", " ", "\n", "\t", ",", '"', "\\", "a=", "a ", '="', "Basic ", 'Basic realm="', "<", ">;rel=", "\0", "a\0"),
    *("HPCDEPLOY ", "HPCDEPLOY {", 'HPCDEPLOY {"', "HPCDEPLOY F begin a\n", "HPCDEPLOY F end a 0\n"),
    *("x: ", "- ", "--a=b ", "--", "$", "${", "<<", "1:1:", "&a ", "*a "),
)


@pytest.mark.parametrize("parser", PARSERS)
def test_no_reader_of_outside_text_goes_back_over_it(parser: str) -> None:
    for piece in REPEATED:
        text = piece * (100_000 // len(piece))
        for given in (text, text + "!", f"a{text}"):
            with within(10 * SECONDS), suppress(HpcdeployError, ValueError):
                PARSERS[parser](given)


@pytest.mark.parametrize("stars", ["*a" * 12, "**/a" * 12, "*a*/" * 6, "a*" * 12 + "/**"])
def test_no_wildcard_pattern_goes_back(stars: str) -> None:
    name = "/".join(["a" * 200] * 15)
    with within(10 * SECONDS):
        assert not leaves_out(read_rules(f"{stars}b"), name, is_folder=False)
        assert not match_source(f"{stars}b", name)
        with suppress(DefinitionError):  # for ** that is no part of its own
            assert not read_ignore(f"{stars}b").ignores(name)
        assert not matches("a" * 3000, ["*a" * 12 + "b"], ignore_case=False)


def test_a_pattern_means_what_the_plain_expression_means() -> None:
    chance = random.Random(14)
    plain = {STAR: "[^/]*", FOLDERS: "(?:.*/)?"}
    for _ in range(4000):
        pieces: list[str] = []
        for _ in range(chance.randint(1, 7)):
            # Behind a slash, as gitignore(5) has it, and so at the beginning.
            at_folder = not pieces or pieces[-1] in ("/", FOLDERS)
            pieces.append(chance.choice([STAR, "a", "b", "/", "[^/]", *([FOLDERS] if at_folder else [])]))
        name = "".join(chance.choice("ab/") for _ in range(chance.randint(1, 9)))
        expected = re.fullmatch("".join(plain.get(piece, piece) for piece in pieces), name, re.DOTALL)
        found = re.fullmatch(joined(pieces), name, re.DOTALL)
        assert bool(found) == bool(expected), (pieces, name, joined(pieces))
