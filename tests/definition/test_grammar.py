"""Definition files are read as Apptainer reads them: each test is one of its rules."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcdeploy.definition.grammar import SECTION_LIMIT, read_definition, substitute
from hpcdeploy.errors import DefinitionError

HEAD = "Bootstrap: docker\nFrom: debian:trixie\n"


def test_a_line_whose_first_word_begins_with_percent_ends_the_section_even_in_a_here_document() -> None:
    with pytest.raises(DefinitionError, match="'%timeit x'"):
        read_definition(HEAD + "%post\npython <<X\n%timeit x\nX\n")


def test_an_indented_section_name_is_none() -> None:
    with pytest.raises(DefinitionError, match="no section is named ''"):
        read_definition(HEAD + "  %post\ntrue\n")


def test_a_quote_before_the_percent_is_enough() -> None:
    assert read_definition(HEAD + "%post\nprintf '%s'\n'%s'\n")[0].section("post") == "printf '%s'\n'%s'\n"


@pytest.mark.parametrize("line", ["%post\t-c /bin/bash", "%files\t"])
def test_a_tab_after_the_name_makes_another_name(line: str) -> None:
    with pytest.raises(DefinitionError, match="begins with '%'"):
        read_definition(f"{HEAD}{line}\ntrue\n")


def test_names_are_case_insensitive_and_carriage_returns_are_taken() -> None:
    stage = read_definition(HEAD.replace("\n", "\r\n") + "%POST -c /bin/bash\r\ntrue\r\n")[0]
    assert stage.header == {"bootstrap": "docker", "from": "debian:trixie"}
    assert (stage.sections[0].name, stage.sections[0].words, stage.sections[0].body) == ("post", "-c /bin/bash", "true\n")


def test_stages_are_cut_at_every_bootstrap_in_column_0_and_at_no_other() -> None:
    assert len(read_definition(HEAD + "%post\ncat <<X\n  bootstrap: y\nX\n")) == 1
    assert len(read_definition(HEAD + "%post\ncat <<X\nbootstrap: y\n")) == 2
    with pytest.raises(DefinitionError, match="'X' has no ':'"):
        read_definition(HEAD + "%post\ncat <<X\nbootstrap: y\nX\n")


def test_same_sections_join_and_the_last_words_win() -> None:
    stage = read_definition(HEAD + "%post -e\na\n%labels\nk v\n%post -c /bin/bash\nb\n")[0]
    assert (stage.section("post"), stage.sections[0].words) == ("a\nb\n", "-c /bin/bash")


def test_files_blocks_with_the_same_words_join_and_only_double_quotes_work() -> None:
    stage = read_definition(HEAD + '%files\na /b # note\n# c\n%files from build\n/x /x\n%files\n"a b" "/c d"\ne\n')[0]
    assert [(copies.words, copies.pairs) for copies in stage.files] == [
        ("", (("a", "/b"), ("a b", "/c d"), ("e", ""))),
        ("from build", (("/x", "/x"),)),
    ]


def test_a_header_value_ends_at_a_number_sign_and_goes_on_after_a_backslash() -> None:
    assert read_definition("Bootstrap: docker\nFrom: x@sha256:00#f\n%post\n")[0].header["from"] == "x@sha256:00"
    assert read_definition("Bootstrap: docker\nFrom: x\\\ny\n%post\n")[0].header["from"] == "xy"


def test_an_unknown_header_is_refused() -> None:
    with pytest.raises(DefinitionError, match="'exclude'"):
        read_definition("Bootstrap: self\nExclude: /x\n%post\n")


def test_a_section_of_64_kib_is_refused_and_one_under_it_is_read() -> None:
    with pytest.raises(DefinitionError, match="longer than 64 KiB"):
        read_definition(HEAD + "%post\n" + "x\n" * (SECTION_LIMIT // 2))
    assert len(read_definition(HEAD + "%post\n" + "x\n" * (SECTION_LIMIT // 2 - 100))[0].section("post")) > 65_000


def test_app_sections_carry_their_app() -> None:
    assert read_definition(HEAD + "%apprun foo\nexec x\n")[0].sections[0].name == "apprun foo"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("%apprun", "'%apprun' names no app"),
        ("%appinstall ", "'%appinstall' names no app"),
        ("%appfiles  tool", "'%appfiles  tool' names no app"),
        ("%AppEnv tool", "must be lower case, unlike other sections: %appenv tool"),
        ("%apptest\ttool", "begins with '%'"),
    ],
)
def test_an_app_section_without_an_app_is_refused(line: str, words: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        read_definition(f"{HEAD}{line}\ntrue\n")
    assert words in str(caught.value)


@pytest.mark.parametrize("after", ["", "\n# a comment\n%post\ntrue\n", "\n\nStage: x\n"])
def test_a_header_that_goes_on_nowhere_is_refused(after: str) -> None:
    with pytest.raises(DefinitionError, match="the header 'from' ends with a backslash"):
        read_definition(f"Bootstrap: docker\nFrom: x\\{after}")


def test_a_header_that_goes_on_may_hold_line_breaks() -> None:
    text = "Bootstrap: zypper\nProductPGP: a\\n\\\nb\\n\\\nc\n"
    assert read_definition(text)[0].header["productpgp"] == "a\nb\nc"


@pytest.mark.parametrize(
    ("words", "is_from_host", "stage"),
    [
        ("", True, ""),
        (" # note", True, ""),
        (" ", True, ""),
        ("  ", False, ""),
        (" from build", False, "build"),
        (" from build # note", False, "build"),
        (" form build", False, "build"),
        (" from", False, ""),
        (" from a b", False, ""),
    ],
)
def test_the_words_after_files_say_where_from(words: str, is_from_host: bool, stage: str) -> None:
    [copies] = read_definition(f"{HEAD}%files{words}\na b\n")[0].files
    assert (copies.is_from_host, copies.stage) == (is_from_host, stage)


@settings(max_examples=300)
@given(st.text(st.sampled_from("\"'\\ \t\u00a0a{}#$*"), max_size=8))
def test_a_line_of_files_is_two_names_or_one_message(line: str) -> None:
    text = f"{HEAD}%files\nb c\n  x{line}\n{line}\n"
    if line.strip() == '"':
        with pytest.raises(DefinitionError, match="an unclosed quote and no file name"):
            read_definition(text)
        return
    [copies] = read_definition(text)[0].files
    assert copies.pairs[0] == ("b", "c")
    assert not any(name.startswith('"') or name.endswith('"') for pair in copies.pairs for name in pair)


def test_blanks_are_those_of_go() -> None:
    [copies] = read_definition(f"{HEAD}%files\na\u00a0b\tc\x0bd e\n")[0].files
    assert copies.pairs == (("a\u00a0b", "c\x0bd"),)


ARGUMENTS = HEAD + '%arguments\n    A=1\n    Q="a b"\n    N={{ A }}\n'


@pytest.mark.parametrize(
    ("line", "result"),
    [
        ("echo {{A}} {{ A }} ${{ A }}", "echo 1 1 $1"),
        ("echo {{ Q }}", 'echo "a b"'),
        ("echo {{ N }}", "echo 1"),
        ("echo {{.ID}} {{- x }} {{ a|b }} {{ a.b }}", "echo {{.ID}} {{- x }} {{ a|b }} {{ a.b }}"),
        ("# {{ A }} stays", "# {{ A }} stays"),
        ("echo ${V#p} {{ A }}", "echo ${V#p} {{ A }}"),
        ("echo #{{ A }}", "echo #1"),
        ("#!{{ A }}", "#!1"),
        ("'{''{ A }}'", "'{''{ A }}'"),
    ],
)
def test_templates_are_replaced_where_apptainer_replaces_them(line: str, result: str) -> None:
    assert substitute(f"{ARGUMENTS}%post\n{line}\n", {}).endswith(f"%post\n{result}\n")


def test_a_template_without_a_value_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"neither %arguments of that stage nor a build argument sets B"):
        substitute(ARGUMENTS + "%post\necho {{ B }}\n", {})


def test_all_names_without_a_value_and_all_unused_ones_are_named_at_once() -> None:
    text = HEAD + "%arguments\nA=1\n%post\necho {{ B }} {{ A }} {{ C }}\n" + HEAD + "%post\necho {{ A }} {{ B }}\n"
    with pytest.raises(DefinitionError, match=r"uses {{ B }}, {{ C }}, {{ A }}, but .* sets B, C, A"):
        substitute(text, {})
    with pytest.raises(DefinitionError, match="'X' and 'Y' is not used"):
        substitute(text, {"A": "", "B": "", "C": "", "X": "", "Y": ""})


def test_arguments_are_those_of_their_own_stage_and_build_arguments_are_global() -> None:
    text = ARGUMENTS + "%post\necho {{ A }}\n" + HEAD + "%post\necho {{ A }}\n"
    with pytest.raises(DefinitionError, match="sets A"):
        substitute(text, {})
    assert substitute(text, {"A": "2"}).count("echo 2") == 2


def test_an_unused_build_argument_is_refused() -> None:
    with pytest.raises(DefinitionError, match="'B' is not used"):
        substitute(ARGUMENTS + "%post\necho {{ A }}\n", {"B": "2"})


def test_an_argument_behind_a_number_sign_is_not_called_unknown() -> None:
    with pytest.raises(DefinitionError, match="'A' is used only after a '#'"):
        substitute("Bootstrap: docker\nFrom: x\n%post\necho ${#X} {{ A }}\n", {"A": "1"})


def test_a_template_in_the_header_is_replaced() -> None:
    text = "Bootstrap: docker\nFrom: ubuntu:{{ V }}\n%arguments\nV=24.04\n%post\n"
    assert read_definition(substitute(text, {}))[0].header["from"] == "ubuntu:24.04"
