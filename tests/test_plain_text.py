"""Text from outside commands no terminal, and stays what it is where it commands none."""

import json
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpcdeploy.plain_text import PlainStream, json_text, one_line, plain

ANY = st.text(st.characters() | st.sampled_from("\x1b[]0;\x07\x9b\r\n\t\u202e\u2028\x7fm"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("naïve ☃\n\ttext", "naïve ☃\n\ttext"),
        ("\x1b[2J\x1b]0;owned\x07", "\\x1b[2J\\x1b]0;owned\\x07"),
        ("C1 \x9b31m, DEL \x7f, NUL \0, CR \r", "C1 \\x9b31m, DEL \\x7f, NUL \\x00, CR \\r"),
        ("\u202eevil\u2066 \u2028", "\\u202eevil\\u2066 \\u2028"),
        ("half \udcff", "half \\udcff"),
        ("[red]markup[/red]", "[red]markup[/red]"),
    ],
)
def test_what_commands_a_terminal_is_shown_by_its_number(text: str, shown: str) -> None:
    assert plain(text) == shown
    assert one_line(text) == shown.replace("\n", "\\n").replace("\t", "\\t")


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(ANY)
def test_nothing_but_lines_and_tabs_is_left_of_what_cannot_be_printed(text: str) -> None:
    assert plain(text).replace("\n", "").replace("\t", "").isprintable()
    assert one_line(text).isprintable()
    assert plain(plain(text)) == plain(text)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(ANY, st.lists(ANY | st.integers(), max_size=2), max_size=2))
def test_json_has_the_same_value_and_commands_no_terminal(value: object) -> None:
    text = json_text(value)
    assert json.loads(text) == value
    assert text.replace("\n", "").isprintable()


def plain_of(*pieces: bytes) -> str:
    stream = PlainStream()
    return "".join(map(stream.take, pieces)) + stream.take(b"", last=True)


def test_colours_are_left_out_of_a_stream_and_the_rest_is_shown() -> None:
    assert plain_of(b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07\x1b]8;;http://x\x1b\\link\x1b(B \x08\n") == "red link \\x08\n"
    assert plain_of(b"10 %\r20 %\r\ndone\r\n") == "10 %\n20 %\ndone\n"
    assert plain_of("caf\u00e9".encode() + b" \xff") == "café \\xff"


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        max_size=6, elements=st.sampled_from([b"\x1b[31mred\x1b[0m", b"caf\xc3\xa9\r\n", b"\x1b]0;t\x1b\\", b"\r", b"x\n"])
    ),
    st.data(),
)
def test_a_stream_reads_the_same_however_it_is_cut(parts: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(parts)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=5)) | {0, len(whole)})
    assert plain_of(*(whole[start:end] for start, end in pairwise(cuts))) == plain_of(whole)


def test_a_sequence_without_an_end_is_not_waited_for_without_end() -> None:
    stream = PlainStream()
    assert stream.take(b"\x1b]0;" + b"x" * 5000) != ""
    assert "after" in stream.take(b"after") + stream.take(b"", last=True)
