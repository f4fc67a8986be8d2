"""The constant library of the scripts for login nodes, file by file, and the headers in front of it, read by bash."""

import re
import subprocess
from pathlib import Path

import pytest

from hpcdeploy.apptainer import build_script
from hpcdeploy.errors import ConfigError
from hpcdeploy.remote import (
    cancellation,
    cleaning,
    job_files,
    listing,
    logs,
    parallel_upload,
    query,
    script_parts,
    submission_script,
    upload_stream,
)
from hpcdeploy.shell_script import FOLDER, Raw, Script, Setup, Value, assignments, here_document, library
from hpcdeploy.templates import shipped_root
from tests.shellcheck import findings

ROOT = shipped_root()
FILES = sorted(path.relative_to(ROOT / FOLDER).as_posix() for path in (ROOT / FOLDER).rglob("*") if path.is_file())
POSIX = frozenset(f"job/{name}.sh" for name in ("arrive", "beside", "gather", "keep_back"))
"""Files that run in a container, whose shell need not be bash."""

PROGRAMS = ("receive.py", "squashfs.py")
"""Files in another language (tests/remote/test_receive_records.py, tests/apptainer/test_squashfs_wrapper.py)."""

TEXTS = ("", "a b", "it's $HOME `id`", 'say "hi"', "two\nlines\n", "back\\slash", "-", "naïve ☃", "*", "~")


@pytest.mark.parametrize("name", [name for name in FILES if name not in PROGRAMS])
def test_a_library_file_is_constant_marked_with_its_name_and_clean(name: str) -> None:
    text = (ROOT / FOLDER / name).read_text()
    assert text.startswith(f"# --- login/{name}: ")
    assert not re.search(r"\[[=%#]|[=%#]\]", text)
    assert text.endswith("\n")
    # Header values and functions of other files: SC2034, SC2154; no file is a script of its own: SC2148, SC2168.
    shell = "--shell=sh" if name in POSIX else "--shell=bash"
    assert findings(text, shell, "--exclude=SC2034,SC2154,SC2168,SC2317,SC2329") == ""


def test_every_library_file_is_used() -> None:
    modules = (
        *(job_files, script_parts, submission_script, build_script),
        *(cancellation, cleaning, listing, logs, parallel_upload, query, upload_stream),
    )
    code = "".join(Path(str(module.__file__)).read_text() for module in modules)
    code += (ROOT / "hpcdeploy/shell_script.py").read_text()
    templates = "".join(path.read_text() for folder in ROOT.glob("*_templates") for path in folder.glob("*"))
    assert [name for name in FILES if f'"{name}"' not in code and f'"login/{name}"' not in templates] == []


def printed(script: str) -> list[str]:
    done = subprocess.run(
        ["bash", "-uc", script], capture_output=True, check=True, env={"X": "x y", "PATH": "/usr/bin:/bin"}
    )
    return done.stdout.decode().split("\0")[:-1]


def test_bash_reads_each_assignment_as_the_value_that_it_stands_for() -> None:
    values: dict[str, Value] = {
        "word": TEXTS[2],
        "number": 7,
        "yes_or_no": True,
        "code": Raw('"$X"/z'),
        "array": TEXTS,
        "none": (),
    }
    tell = """printf '%s\\0' "$word" "$number" "$yes_or_no" "$code" "${#none[@]}" "${array[@]}" """
    assert printed(f"{assignments(values)}\n{tell}") == [TEXTS[2], "7", "yes", "x y/z", "0", *TEXTS]
    table = {text: f"{text}!" for text in TEXTS if text}
    tell = """for key in "${!table[@]}"; do printf '%s\\0' "$key${table[$key]}"; done"""
    assert sorted(printed(f"{assignments({'table': table})}\n{tell}")) == sorted(f"{key}{key}!" for key in table)


def test_a_value_that_no_shell_can_hold_is_refused() -> None:
    with pytest.raises(ConfigError, match="NUL"):
        assignments({"a": ("b", "c\0d")})


def test_a_here_document_is_not_expanded() -> None:
    text = "".join(f"{text}\n" for text in TEXTS)
    assert (
        subprocess.run(["bash", "-c", here_document("cat", text, "END")], capture_output=True, check=True).stdout
        == text.encode()
    )


@pytest.mark.parametrize("reads_input", [False, True])
def test_a_script_is_its_header_and_the_files_in_their_order(reads_input: bool) -> None:
    setup = Setup(lines=("cat", "export SITE=$SITE.x"), must_succeed=True)
    script = Script(title="Test.", values={"a": "b c"}, setup=setup, files=("json.sh", "paths.sh"), reads_input=reads_input)
    text = script.text()
    names = re.findall(r"(?m)^# --- login/(\S+):", text)
    assert names == ["state.sh", "begin.sh", "setup.sh", "json.sh", "paths.sh"]
    assert text.index("main() {") < text.index("a='b c'") < text.index("# --- login/setup.sh")
    for name in names:
        assert library([name]).rstrip() in text
    assert (" </dev/null\n\n# --- login/json.sh" in text) == reads_input
