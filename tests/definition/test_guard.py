"""What may not stand in a definition is refused with the reason, and a word is said so that nothing in it is read."""

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcdeploy.definition import guard
from hpcdeploy.definition.grammar import TEMPLATE
from hpcdeploy.errors import DefinitionError
from tests.definition.samples import AWKWARD


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("%timeit x", "it begins with '%'"),
        ("  %{name}", "it begins with '%'"),
        ("BootStrap: docker", "it begins with 'Bootstrap:'"),
        ("echo {{ path }}", "no argument is named path"),
        ("echo ${{ path }}", "no argument is named path"),
        ('echo "#x {{ ENVIRONMENT }}"', "follows a '#'"),
        ("# {{ ENVIRONMENT }}", "follows a '#'"),
        ("a\0b", "NUL"),
    ],
)
def test_a_line_that_would_not_reach_the_shell_is_refused(line: str, reason: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        guard.shell_lines(("true", f"cat <<X\n{line}\nX"), "setup", ("ENVIRONMENT",))
    assert reason in str(caught.value)
    assert "list the script in 'files'" in str(caught.value)


@pytest.mark.parametrize(
    "line", ["printf '%s' x", "  bootstrap: y", "echo {{ ENVIRONMENT }}", "echo {{.ID}} '{''{ x }}'", "echo x # note", ""]
)
def test_a_line_that_is_harmless_passes_unchanged(line: str) -> None:
    assert guard.shell_lines((line,), "setup", ("ENVIRONMENT",)) == (line,)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("ghcr.io/prefix-dev/pixi:noble", ("docker", "ghcr.io/prefix-dev/pixi:noble")),
        ("docker://ubuntu:24.04", ("docker", "ubuntu:24.04")),
        ("oras://ghcr.io/me/base:1", ("oras", "ghcr.io/me/base:1")),
        ("/images/base.sif", ("localimage", "/images/base.sif")),
    ],
)
def test_an_image_s_address_says_how_it_is_fetched(text: str, result: tuple[str, str]) -> None:
    assert guard.header(text, "the base image") == result


@pytest.mark.parametrize("text", ["", "a b", "x@sha256:00#f", "ubuntu:{{ V }}", "x\ny", "x\\", "ftp://x/y"])
def test_an_address_that_a_header_cannot_hold_is_refused(text: str) -> None:
    with pytest.raises(DefinitionError, match="the base image"):
        guard.header(text, "the base image")


@pytest.mark.parametrize("value", ["a\nb", " a", "a ", "{{ B }}", "a\0"])
def test_an_argument_that_would_change_on_its_way_is_refused(value: str) -> None:
    with pytest.raises(DefinitionError, match="the build argument A is"):
        guard.argument("A", value)


def test_an_argument_s_name_is_a_word() -> None:
    with pytest.raises(DefinitionError, match="'# A'"):
        guard.argument("# A", "1")


@pytest.mark.parametrize("key", ["a\tb", "a b", "", "#a", "a\n"])
def test_a_label_s_key_holds_no_blank(key: str) -> None:
    with pytest.raises(DefinitionError, match="the label"):
        guard.label(key, "x")


@pytest.mark.parametrize("value", ["a\nb", " a", "a\t"])
def test_a_label_s_value_is_one_line(value: str) -> None:
    with pytest.raises(DefinitionError, match="must be one line"):
        guard.label("org.example.key", value)


@pytest.mark.parametrize(
    "text",
    [
        "app",
        "/app/../etc",
        "/",
        "/tmp/x",
        "/var/tmp",
        "/dev/shm/x",
        "/a'b",
        '/a"b',
        "/a*b",
        "/a$b",
        "/a\\ b",
        "/a#b",
        "/{{ X }}",
    ],
)
def test_a_place_that_files_cannot_say_is_refused(text: str) -> None:
    with pytest.raises(DefinitionError, match="the path"):
        guard.destination(text)


def test_blanks_in_a_place_are_said_in_double_quotes() -> None:
    assert guard.file_word(guard.destination("/opt/my data"), folder=True) == '"/opt/my data/"'


@pytest.mark.parametrize("version", ["12.9; id", "twelve", "12.", "$(id)"])
def test_a_cuda_version_is_digits_and_dots(version: str) -> None:
    with pytest.raises(DefinitionError, match="digits and dots"):
        guard.cuda_version(version)


def test_path_is_left_to_activation() -> None:
    with pytest.raises(DefinitionError, match="PATH cannot be set"):
        guard.export("PATH", "/x")


@pytest.mark.parametrize("text", AWKWARD)
def test_a_word_holds_nothing_that_the_definition_s_language_could_read(text: str) -> None:
    word = guard.word(text)
    assert "\n" not in word
    assert "#" not in word
    assert "%" not in word
    assert not TEMPLATE.search(word)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1, max_size=20))
def test_bash_reads_every_word_back_as_it_was(texts: list[str]) -> None:
    script = "printf '%s\\0' " + " ".join(map(guard.word, texts))
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"})
    assert done.stdout.decode().split("\0")[:-1] == texts


def test_a_nul_is_refused() -> None:
    with pytest.raises(DefinitionError, match="NUL"):
        guard.word("a\0b")
