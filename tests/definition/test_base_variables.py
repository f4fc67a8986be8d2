"""The base image's variables: what each Apptainer writes of them is put right, or left alone where it is right."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpcdeploy import templates

FILE = "/.singularity.d/env/10-docker2singularity.sh"
ODD = {
    "JSON": '{"a": 1, "b": "\\n"}',
    "BACKQUOTE": "`id`",
    "DOLLAR": "$HOME and ${X} and $(id)",
    "WINDOWS": "C:\\dir\\$x",
    "LINES": "first\nsecond\tafter a tab\r",
    "BELL": "\a\x01 \x7f\u00a0é✓ 𝄞",
    "PLAIN": "a b 'c' {d} #e",
    "EMPTY": "",
    "PATH": '/opt/own "bin":/usr/bin:/bin',
}


def escape(text: str) -> str:
    """Escape as shell.Escape of Apptainer's internal/pkg/util/shell does."""
    for character in '\\"`$':
        text = text.replace(character, f"\\{character}")
    return text


def quote(text: str) -> str:
    """Quote as Go's %q does (strconv.Quote)."""
    named = {"\a": "a", "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t", "\v": "v", '"': '"', "\\": "\\"}

    def one(character: str) -> str:
        if character in named:
            return f"\\{named[character]}"
        if character == " " or character.isprintable():
            return character
        number = ord(character)
        return f"\\x{number:02x}" if number < 128 else f"\\u{number:04x}" if number < 65536 else f"\\U{number:08x}"

    return '"' + "".join(map(one, text)) + '"'


def written(values: Mapping[str, str], *, twice: bool) -> str:
    """Write the file as Apptainer 1.4.5 (twice) or 1.5.0 does (insertEnv in conveyorPacker_oci.go)."""
    lines = ["#!/bin/sh", 'export UNSET="${UNSET:-}"']
    for name, value in values.items():
        word = quote(escape(value)) if twice else f'"{escape(value)}"'
        lines.append(f"export {name}={word}" if name == "PATH" else f'export {name}="${{{name}:-{word}}}"')
    return "".join(f"{line}\n" for line in lines)


def fix(text: str, folder: Path, then: str = "env -0") -> tuple[str, dict[str, str]]:
    """Run what stands in %post; return the file afterwards, and the variables of the shell."""
    file = folder / "file.sh"
    file.write_text(text, newline="")
    code = "set -euo pipefail\n" + templates.render("defs/parts/base_variables.def", {}).replace(FILE, str(file)) + then
    done = subprocess.run(["/bin/bash", "-c", code], env={"PATH": os.environ["PATH"]}, capture_output=True, check=True)
    found = dict(one.split("=", 1) for one in done.stdout.decode().split("\0") if one)
    return file.read_bytes().decode(), found


def test_what_was_quoted_twice_is_what_a_newer_apptainer_writes(tmp_path: Path) -> None:
    after, variables = fix(written(ODD, twice=True), tmp_path, "PATH=/usr/bin:/bin env -0")
    assert after == written(ODD, twice=False)
    assert {name: variables[name] for name in ODD if name != "PATH"} == {
        name: value for name, value in ODD.items() if name != "PATH"
    }


@pytest.mark.parametrize(
    "values", [ODD, *({name: value} for name, value in ODD.items()), {"A": "a\\b"}, {"A": 'a"b'}, {"A": "\\\\\\"}]
)
def test_what_was_quoted_once_stays_as_it_is(tmp_path: Path, values: dict[str, str]) -> None:
    assert fix(written(values, twice=False), tmp_path, "true")[0] == written(values, twice=False)


def test_without_special_characters_nothing_is_done(tmp_path: Path) -> None:
    plain = {"PATH": "/usr/bin", "A": "b c"}
    for twice in (True, False):
        assert fix(written(plain, twice=twice), tmp_path)[0] == written(plain, twice=twice)


def test_a_variable_that_is_a_shell_s_own_is_left_to_it(tmp_path: Path) -> None:
    values = {"UID": "$1000", "HOME": "`x`", "A": "`y`"}
    assert fix(written(values, twice=True), tmp_path)[1]["A"] == "`y`"


@given(
    st.dictionaries(
        st.from_regex(r"[A-Z]{2,5}X", fullmatch=True), st.text(st.characters(codec="utf-8", exclude_characters="\0"))
    )
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_values_come_out_as_they_went_in(tmp_path: Path, values: dict[str, str]) -> None:
    after, variables = fix(written(values, twice=True), tmp_path)
    assert after in (written(values, twice=False), written(values, twice=True))
    # Apptainer's interpreter expands no braces in assignments (tests/builds/test_base_variables_on_cluster.py); bash would.
    command = ["bash", "+B", "-c", '. "$1"; env -0', "bash", str(tmp_path / "file.sh")]
    sourced = subprocess.run(command, env={"PATH": "/usr/bin:/bin"}, capture_output=True, check=True)
    found = dict(one.split("=", 1) for one in sourced.stdout.decode().split("\0") if one)
    assert {name: found[name] for name in values} == values
    assert {name: variables[name] for name in values if name in variables}.items() <= values.items()
