import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcdeploy.errors import ConfigError
from hpcdeploy.parameters import Placeholder, filled, pieces, task_line
from hpcdeploy.templates import shipped_root

VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | st.text(
    st.sampled_from("ab \"'$;\\\n\t`#%&|<>(){}[]*?~!=:,^é☃01\x81\x85")
)


@given(st.lists(VALUES | VALUES.map("".join), min_size=1, max_size=4))
def test_a_tasks_line_is_plain_signs_only(values: list[str]) -> None:
    line = task_line(7, {f"p{number}": value for number, value in enumerate(values)})
    assert line.isascii()
    assert not set(line) & set("\n\t'\"$`#%&|;,<>(){}[]*?~!")
    assert [word.partition("=")[0] for word in line.split(" ")] == ["7", *(f"p{number}" for number in range(len(values)))]


def test_a_value_that_linux_gives_no_program_is_refused_before_anything_is_submitted() -> None:
    assert task_line(0, {"v": " " * 26_000})
    with pytest.raises(ConfigError, match=r"task 3: the value of v takes \d+ bytes .* Put it into a file"):
        task_line(3, {"v": " " * 27_000})
    with pytest.raises(ConfigError, match="the value of v takes"):
        task_line(3, {"v": "x" * 131_072})


def decoding() -> str:
    """Return what the container's shell does with a value, as the template has it."""
    program = (shipped_root() / "slurm_templates/program.sh").read_text()
    [line] = [line for line in program.splitlines() if line.startswith("value=")]
    return line


@pytest.mark.parametrize("shell", [["dash"], ["bash"], ["bash", "--posix"]], ids=" ".join)
@settings(max_examples=60, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=20))
def test_every_shell_reads_a_value_back_byte_for_byte(shell: list[str], values: list[str]) -> None:
    assert shutil.which(shell[0])
    words = task_line(0, {f"p{number}": value for number, value in enumerate(values)}).split(" ")[1:]
    script = f"while [ $# -gt 0 ]; do {decoding()}\nprintf '%s\\0' \"${{value%.}}\"; shift; done"
    for locale in ("C", "C.UTF-8"):
        done = subprocess.run([*shell, "-c", script, "sh", *words], capture_output=True, check=True, env={"LC_ALL": locale})
        assert done.stdout.split(b"\0")[:-1] == [value.encode() for value in values]


def test_a_byte_that_is_no_utf8_is_kept_too() -> None:
    assert task_line(0, {"a": "caf\udce9 1"}) == "0 a=caf\\0351\\00401"


def test_placeholders_are_found_as_str_format_finds_them() -> None:
    assert [piece for piece in pieces("a{b}{{b}}}}", ("b",)) if piece] == ["a", Placeholder(name="b"), "{", "b", "}", "}"]
    assert filled("--{lr}={lr}{{x}}", {"lr": "{lr}"}) == "--{lr}={lr}{x}"


@given(VALUES)
def test_a_text_with_its_braces_doubled_is_itself(text: str) -> None:
    assert filled(text.replace("{", "{{").replace("}", "}}"), {"lr": "1"}) == text
