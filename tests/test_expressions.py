"""No regular expression and no pattern takes quadratic time: what is long, repeats and nearly fits is seen through at once.

Measured is how the time grows with the text, which is the same on every machine: for a text of four times the length a
linear expression takes four times as long, a quadratic one sixteen times. Only this thread's processor time counts, and
the shortest of several tries.
"""

import random
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from hpcdeploy.definition.dockerfile.context import match_source, read_ignore
from hpcdeploy.definition.dockerfile.parsing import parse_dockerfile
from hpcdeploy.environments.pixi_lock import read_lock
from hpcdeploy.errors import DefinitionError, HpcdeployError
from hpcdeploy.flows.ignoring import leaves_out, read_rules
from hpcdeploy.flows.ssh_includes import included
from hpcdeploy.limits import Lines
from hpcdeploy.registry.authentication import next_page, parse_challenges
from hpcdeploy.remote.answers import read_answer
from hpcdeploy.remote.listing import read_listing
from hpcdeploy.remote.upload_stream import UploadStream
from hpcdeploy.scheduler.contract import read_answers
from hpcdeploy.staged_files import StagedFile
from hpcdeploy.transport.ssh_config import matches
from hpcdeploy.wildcards import FOLDERS, STAR, joined
from tests.expressions import Expression, Nearly, expressions, texts

LENGTH = 2000
"""Characters of the first look. A quadratic expression takes `NOTHING` for them, or more."""

NOTHING = 0.00005
"""Seconds: what takes less for `LENGTH` characters is not looked at again."""

MOST_GROWTH = 8.0
"""Between the 4 times of what is linear and the 16 times of what is quadratic."""

SECONDS = 1.0
"""Of the processor: what takes longer for 100,000 characters is slow."""

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


def growth(run: Callable[[str], object], text: Nearly) -> float:
    """Return how many times as long `run` takes for four times the text; 1.0 where it is too fast to tell."""

    def cost(length: int, tries: int) -> float:
        given, costs = text.of_length(length), []
        for _ in range(tries):
            start = time.thread_time()
            run(given)
            costs.append(time.thread_time() - start)
        return min(costs)

    if cost(LENGTH, 1) < NOTHING or cost(LENGTH, 3) < NOTHING:
        return 1.0
    found = 1.0
    for number, length in enumerate((LENGTH, LENGTH // 2) * 4):  # all of them, since a busy machine may disturb one
        time.sleep(0.02 * number)
        found = cost(4 * length, 3) / cost(length, 6)
        if found < MOST_GROWTH:
            break
    return found


def goes_back(pattern: re.Pattern[Any], uses: Iterable[str]) -> list[tuple[str, Nearly]]:
    """Return the first text on which an expression takes quadratic time or more, and what was called; nothing if none."""
    is_bytes = isinstance(pattern.pattern, bytes)
    for text in texts(pattern):
        for use in uses:
            function = getattr(pattern, use)
            run = (lambda given, function=function: function(given.encode())) if is_bytes else function
            with within(3 * SECONDS):
                if growth(run, text) >= MOST_GROWTH:
                    return [(use, text)]
    return []


# Each was in hpcdeploy, or is a kind of its own: a search that begins anywhere, two repetitions side by side, and behind a
# beginning, a repetition of alternatives behind a search, a repetition in a repetition.
SLOW = (
    (r"\s*%", "search"),
    (r"-(?:[^-/]*_)?py(?:3\d+|h[0-9a-f])[^-/]*\.(?:conda|tar\.bz2)$", "search"),
    (r"""'[^']*'|"(?:\\.|[^"\\])*"|(?<!\S)#.*""", "search"),
    (r"(faked|fakeroot)\S*: .*GLIBC_\S+ not found|error while starting|libs/faked: not found", "search"),
    (r"(?:(?:https?|ssh|git)://)?(?:[^@/]*@)?([A-Za-z0-9.-]+)(?::[0-9]+/|[:/]/*)(.+)", "fullmatch"),
    (r"request_.*gpu.*", "fullmatch"),
    (r"-\w*e\w*", "fullmatch"),
    (r"^Offending .*key in (.+:\d+)", "search"),
    (r"Permission denied \(.*gssapi", "search"),
    (r"(?:ssh://)?(?:(.+)@)?(?:\[([^\]]+)\]|([^:@/]+))(?::(\d+))?/?", "fullmatch"),
    (r"(?:a+;?)+!", "match"),
)


@pytest.mark.parametrize(("slow", "use"), SLOW)
def test_the_search_finds_what_goes_back(slow: str, use: str) -> None:
    with suppress(TooSlowError):
        assert goes_back(re.compile(slow), [use])


def test_the_search_finds_the_expressions_of_hpcdeploy() -> None:
    assert len(EVERY) > 150


@pytest.mark.parametrize("expression", EVERY, ids=str)
def test_no_expression_goes_back_over_a_long_text(expression: Expression) -> None:
    assert expression.pattern is not None
    assert not goes_back(expression.pattern, expression.uses)


def sending(text: str) -> None:
    one = UploadStream(b"", StagedFile(what="x", source="x", path="x", sha256="x", size=1), lambda *_: None)
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
