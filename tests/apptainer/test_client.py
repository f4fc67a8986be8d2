"""The client: commands of spython, with the outcome of every one."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hpcdeploy.apptainer.client import ApptainerClient, CommandFailedError, find_program
from hpcdeploy.errors import MissingProgramError
from hpcdeploy.image import GZIP, ZSTD
from hpcdeploy.secret import SecretValue, masking

PROGRAM = """#!/bin/bash
case $1 in
--version) echo "apptainer version 1.4.5" ;;
exec) grep -q "leaves" image.def || sh -c "${!#}"; ! grep -q "broken" image.def ;;
build)
  if [ "$2" = --help ]; then [ ! -e old ] || exit 1; echo "  --mksquashfs-args string   more arguments"; exit; fi
  for last; do image=$previous previous=$last; done
  if grep -q flood "$last"; then
    for number in {1..3000}; do echo "INFO: line $number of a long story" >&2; echo "out $number"; done
  fi
  if grep -q long "$last"; then yes "$(printf '%01000d' 7)" | head -c 70000 | tr '\\n' ' '; echo; echo end; fi
  if grep -q fails "$last"; then echo part > "$image"; echo "FATAL: no" >&2; exit 255; fi
  if grep -q sleeps "$last"; then echo part > "$image"; sleep 600 & echo $! > sleeper; echo started; wait; fi
  printf '%s\\n' "$@" > "$image"; umask >> "$image"; echo "$EXTRA" >> "$image" ;;
esac
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose program `apptainer` does as it is told by the definition."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/apptainer"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path


def define(folder: Path, text: str) -> Path:
    path = folder / "image.def"
    path.write_text(text)
    return path


def test_apptainer_is_preferred_and_singularity_is_taken_too(folder: Path) -> None:
    singularity = folder / "bin/singularity"
    singularity.write_text(PROGRAM)
    singularity.chmod(0o755)
    assert find_program() == str(folder / "bin/apptainer")
    (folder / "bin/apptainer").unlink()
    assert find_program() == str(singularity)


def test_a_missing_program_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingProgramError, match=r"apptainer or singularity is not on this machine's PATH.*--on CLUSTER"):
        ApptainerClient()


def test_the_version_is_asked_of_the_program_that_was_found(folder: Path) -> None:
    assert ApptainerClient().version().numbers == (1, 4, 5)


def test_a_build_passes_arguments_as_words_without_sudo_and_renames_the_image(folder: Path) -> None:
    image = folder / "my image.sif"
    arguments = (("A", "x y"), ("B", "$HOME"), ("C", 'x,MODE="d"'))
    ApptainerClient().build(define(folder, "good"), image, build_args=arguments, environment={"EXTRA": "more"})
    part = str(folder / ".my image.sif.part")
    given = ("A=x y", "B=$HOME", '"C=x,MODE=""d"""')
    words = ["build", *(word for one in given for word in ("--build-arg", one)), part, "image.def"]
    assert image.read_text().splitlines() == [*words, "0022", "more"]
    assert not Path(part).exists()


def test_the_compressor_and_its_level_are_one_word_where_this_version_can_set_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    client = ApptainerClient()
    assert client.compressing(ZSTD) == ["--mksquashfs-args=-comp zstd -Xcompression-level 3 -b 131072"]
    assert client.compressing(GZIP) == ["--mksquashfs-args=-comp gzip -Xcompression-level 1 -b 131072"]
    (folder / "old").touch()
    assert client.compressing(ZSTD) == []


def test_a_failed_build_is_an_error_and_leaves_the_old_image_alone(folder: Path) -> None:
    image = folder / "x.sif"
    image.write_text("old")
    with pytest.raises(CommandFailedError, match="FATAL: no") as caught:
        ApptainerClient().build(define(folder, "fails"), image)
    assert caught.value.exit_code == 255
    assert image.read_text() == "old"
    assert list(folder.glob(".*.part")) == []


def test_an_image_whose_environment_ends_first_is_no_build(folder: Path) -> None:
    image = folder / "x.sif"
    with pytest.raises(CommandFailedError, match="no program starts in this image"):
        ApptainerClient().build(define(folder, "leaves"), image)
    assert [path.name for path in folder.iterdir() if "sif" in path.name] == []
    ApptainerClient().build(define(folder, "leaves broken: it cannot be started here"), image)
    assert image.exists()


def test_both_streams_are_read_to_the_end_however_much_they_hold(folder: Path) -> None:
    lines: list[str] = []
    ApptainerClient().build(define(folder, "flood"), folder / "x.sif", on_line=lines.append)
    assert len(lines) == 6000
    assert {"out 3000", "INFO: line 3000 of a long story"} <= set(lines)


def test_of_a_line_that_is_too_long_to_be_searched_for_secrets_only_the_length_is_told(folder: Path) -> None:
    lines: list[str] = []
    mask = masking([SecretValue(b"7".zfill(1000))])
    ApptainerClient().build(define(folder, "long"), folder / "x.sif", on_line=lines.append, mask=mask)
    assert lines == ["[... a line of 70000 bytes is left out here ...]", "end"]


def test_a_build_that_is_left_early_ends_with_its_children_and_leaves_no_image(folder: Path) -> None:
    def leave(line: str) -> None:
        if line == "started":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ApptainerClient().build(define(folder, "sleeps"), folder / "x.sif", on_line=leave)
    assert sorted(path.name for path in folder.glob("*.sif")) + list(folder.glob(".*.part")) == []
    sleeper = int((folder / "sleeper").read_text())
    ended = threading.Event()
    for _ in range(200):
        try:
            if Path(f"/proc/{sleeper}/stat").read_text().split(")")[1].split()[0] == "Z":
                break
        except (FileNotFoundError, ProcessLookupError):  # the second where it ends while it is read
            break
        ended.wait(0.05)
    else:
        os.kill(sleeper, signal.SIGKILL)
        pytest.fail("a child of the build outlived it")


def test_importing_the_flow_does_not_import_spython() -> None:
    heavy = "('spython', 'jinja2', 'yaml')"
    code = f"import sys, hpcdeploy.flows.build; print([m for m in sys.modules if m.split('.')[0] in {heavy}])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
