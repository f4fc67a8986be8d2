"""Dockerfiles as they are read, and the same by BuildKit's own parser."""

import dockerfile as buildkit
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcdeploy.definition.dockerfile.parsing import Dockerfile, HereDocument, listed, pairs, parse_dockerfile
from hpcdeploy.errors import DefinitionError


def read(text: str) -> Dockerfile:
    return parse_dockerfile(text)


def rests(text: str) -> list[tuple[int, str, str]]:
    return [(one.line, one.name, one.rest) for one in read(text).instructions]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from a\nRun b", [(1, "FROM", "a"), (2, "RUN", "b")]),
        ("\ufeffFROM a\r\nRUN b \\\r\n  c\r\n", [(1, "FROM", "a"), (2, "RUN", "b   c")]),
        ("RUN a \\\n# comment\n  # another\n\n   b", [(1, "RUN", "a    b")]),
        ("RUN a \\\\\nRUN b", [(1, "RUN", "a \\\\"), (2, "RUN", "b")]),
        ("RUN a \\   \nb", [(1, "RUN", "a b")]),
        ("# escape=`\nRUN a `\n b \\\nRUN c", [(2, "RUN", "a  b \\"), (4, "RUN", "c")]),
        ("# a comment\n# escape=`\nRUN a \\\n b", [(3, "RUN", "a  b")]),
        ("# syntax=docker/dockerfile:1.7\n#check=skip=all\nRUN a", [(3, "RUN", "a")]),
        ("RUN echo '#' # no comment", [(1, "RUN", "echo '#' # no comment")]),
    ],
)
def test_lines_are_joined_as_docker_does(text: str, expected: list[tuple[int, str, str]]) -> None:
    assert rests(text) == expected


@pytest.mark.parametrize(
    ("text", "names", "contents"),
    [
        ("RUN <<EOF\nFROM x\n# kept\nEOF", ["EOF"], ["FROM x\n# kept\n"]),
        ("RUN <<-X\n\ta\n\t\tb\n\tX", ["X"], ["a\nb\n"]),
        ("COPY <<a <<'b' /c/\n1\na\n2 $X\nb", ["a", "b"], ["1\n", "2 $X\n"]),
        ("RUN echo '<<EOF'", [], []),
        ("RUN cat <<EOF > /x\ny\nEOF", ["EOF"], ["y\n"]),
        ("RUN cat <<<EOF", [], []),
        ("RUN 3<<EOF cat\ny\nEOF", ["EOF"], ["y\n"]),
        ('RUN ["cat", "<<EOF"]', [], []),
        ("ENV A=<<EOF", [], []),
        ("RUN <<EOF\nEOF", ["EOF"], [""]),
    ],
)
def test_here_documents_are_found(text: str, names: list[str], contents: list[str]) -> None:
    [one] = read(text).instructions
    assert ([here.name for here in one.here], [here.content for here in one.here]) == (names, contents)


@pytest.mark.parametrize(
    ("word", "expand"), [("EOF", True), ("'EOF'", False), ('"EOF"', False), ("E\\OF", False), ("E'O'F", False)]
)
def test_a_quoted_here_document_is_not_expanded(word: str, expand: bool) -> None:
    [one] = read(f"COPY <<{word} /x\n$A\nEOF").instructions
    assert one.here == (HereDocument(name="EOF", text="$A\n", expand=expand, chomp=False),)


def test_flags_end_at_the_first_other_word() -> None:
    [one] = read('COPY --from=a --chmod="07 55" b --c /d').instructions
    assert one.flags == (("from", "a"), ("chmod", "07 55"))
    assert listed(one) == ("b", "--c", "/d")


@pytest.mark.parametrize(
    ("rest", "words"),
    [('["a b", "c"]', ("a b", "c")), ("['a']", None), ('["a", ]', None), ("[ -f x ] && y", None), ("[]", ())],
)
def test_an_array_is_one_or_else_the_shell_form(rest: str, words: tuple[str, ...] | None) -> None:
    assert read(f"RUN {rest}").instructions[0].words == words


@pytest.mark.parametrize("levels", [2, 20, 500, 5000])
@pytest.mark.parametrize("name", ["CMD", "ENTRYPOINT", "RUN", "SHELL", "VOLUME"])
def test_arrays_in_arrays_are_refused_and_are_no_traceback(name: str, levels: int) -> None:
    text = f"FROM z\n{name} {'[' * levels}{']' * levels}"
    with pytest.raises(DefinitionError, match="line 2: the array"):
        read(text)
    with pytest.raises(buildkit.GoParseError, match="arrays must be comprised of strings only"):
        buildkit.parse_string(text)


@pytest.mark.parametrize("rest", ["[NaN]", "[Infinity]", "[[[[", '["a"', '["\t"]', "[" * 100 + "x"])
def test_what_is_no_json_is_the_shell_form_as_it_is_to_buildkit(rest: str) -> None:
    assert read(f"FROM z\nCMD {rest}").instructions[1].words is None
    assert not buildkit.parse_string(f"FROM z\nCMD {rest}")[1].json


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--mount=type=cache,target=/x", "type=cache,target=/x"),
        ("--mount='type=tmpfs,\"target=/a,b\"'", 'type=tmpfs,"target=/a,b"'),
        ('--mount=type=cache,"target=/a b"', "type=cache,target=/a b"),
        ("--mount=type=cache,target=/a\\ b", "type=cache,target=/a b"),
        ('--mount="it\'s\\""', "it's\""),
    ],
)
def test_a_flag_loses_its_own_quotes_only_as_in_buildkit(flag: str, value: str) -> None:
    text = f"FROM z\nRUN {flag} x"
    assert read(text).instructions[1].flags == (("mount", value),)
    assert buildkit.parse_string(text)[1].flags == (f"--mount={value}",)


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("a=b c='d e' f=\"g h\"", (("a", "b"), ("c", "'d e'"), ("f", '"g h"'))),
        ("a b  c=d", (("a", "b  c=d"),)),
        ("a=b\\ c", (("a", "b\\ c"),)),
        ("a=", (("a", ""),)),
    ],
)
def test_names_and_values_are_parted(rest: str, expected: tuple[tuple[str, str], ...]) -> None:
    assert pairs(read(f"ENV {rest}").instructions[0], "\\") == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("FROM a\nBUILD x", "line 2: 'BUILD' is not a Dockerfile instruction"),
        ("RUN", "line 1: RUN has no argument"),
        ("# escape=x\nFROM a", "line 1: the escape character 'x'"),
        ("# escape=`\n# escape=`\nFROM a", "line 2: the directive 'escape' appears twice"),
        ("# syntax=example.org/own:1\nFROM a", "line 1: the syntax 'example.org/own:1' is not Docker's own"),
        ("FROM a\nRUN <<EOF\nx", "line 2: the here-document 'EOF' is not closed"),
        ("CMD [1]", "line 1: the array [1] contains a value that is not a string"),
        ('CMD ["a"] b', "line 1: 'b' follows a JSON array"),
    ],
)
def test_what_docker_would_not_read_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(DefinitionError) as raised:
        read(text)
    assert str(raised.value).startswith(said)


PIECES = (
    *("RUN ", "COPY ", "ENV ", "a", "b ", "=", '"', "'", "\\", "\\\n", "\n", "# c\n", " ", "\t", "<<EOF ", "<<-X"),
    *(
        "--mount=type=cache,target=/c ",
        "--link ",
        "--mount='a,\"b=c\"' ",
        "[[",
        "]]",
        "NaN",
        "1",
        '"\\ud800"',
        "{",
        "}",
        ":",
    ),
    *("\nEOF\n", "\nX\n", "<<'E'", "\nE\n", "--x=y ", "$A", "[", '"q"', ",", "]", "FROM x\n", "`"),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join), st.booleans())
def test_whatever_is_read_is_read_as_buildkit_s_own_parser_reads_it(tail: str, backtick: bool) -> None:
    text = ("# escape=`\n" if backtick else "") + "FROM z\nRUN " + tail
    try:
        mine = read(text)
        theirs = buildkit.parse_string(text)
    except (DefinitionError, buildkit.GoParseError):
        return  # each refuses some that the other leaves to a later step
    if any(one.cmd is None for one in theirs):
        return  # a line that became empty, which is no instruction here
    assert [(one.name, one.line) for one in mine.instructions] == [(one.cmd.upper(), one.start_line) for one in theirs]
    for one, other in zip(mine.instructions, theirs, strict=True):
        assert [f"--{name}={value}" for name, value in one.flags] == [
            flag if "=" in flag else f"{flag}=" for flag in other.flags
        ]
        assert [here.name for here in one.here] == [here.name for here in other.heredocs]
        assert [here.text for here in one.here if not here.chomp] == [
            there.content for here, there in zip(one.here, other.heredocs, strict=True) if not here.chomp
        ]
        if one.name == "RUN":
            assert ((one.words is not None), (one.words or (one.rest,))) == (other.json, other.value or (one.rest,))
        if one.name == "COPY":
            assert listed(one) == other.value
