"""What hpcdeploy wrote is written again; what it did not write is kept."""

import os
from pathlib import Path

import pytest

from hpcdeploy.errors import ConfigError
from hpcdeploy.generated_file import is_generated, write_generated

OWN = "[workspace]\nname = 'mine'\n"


@pytest.mark.parametrize(
    ("text", "generated"),
    [
        ("# train: the Pixi environment gpu, made by hpcdeploy 0.1.0\n", True),
        ("\n# train: Dockerfile, translated by hpcdeploy 0.1.0\n", True),
        ("# Made by hpcdeploy: for the Dockerfile of train\n", True),
        ("# Builds images. Written by 'hpcdeploy workflow' (0.1.0); write it again\n", True),
        ("<!DOCTYPE html>\n<!-- Made by hpcdeploy inspect. -->\n", True),
        (OWN, False),
        ("", False),
        ("\n\n\n\n\n# made by hpcdeploy\n", False),
        ("x" * 5000 + " made by hpcdeploy", False),
    ],
)
def test_a_mark_in_the_first_lines_tells_who_wrote_a_file(text: str, generated: bool) -> None:
    assert is_generated(text.encode()) is generated


def test_a_file_of_the_user_is_kept_and_nothing_else_is_written(tmp_path: Path) -> None:
    own, other = tmp_path / "pixi.toml", tmp_path / "new"
    own.write_text(OWN)
    with pytest.raises(ConfigError, match=r"pixi\.toml exists, and hpcdeploy did not write it; .*--force"):
        write_generated({other: "a", own: "b"})
    assert (own.read_text(), other.exists()) == (OWN, False)
    write_generated({other: "a", own: "b"}, force=True)
    assert (own.read_text(), other.read_text()) == ("b", "a")


def test_what_hpcdeploy_wrote_is_written_again(tmp_path: Path) -> None:
    file = tmp_path / "x.def"
    write_generated({file: "# made by hpcdeploy 1\n"})
    write_generated({file: "# made by hpcdeploy 2\n"})
    assert file.read_text() == "# made by hpcdeploy 2\n"
    file.write_text(OWN)
    write_generated({file: OWN})  # the same text is no loss


def test_a_file_to_be_edited_is_kept_even_with_a_mark(tmp_path: Path) -> None:
    file = tmp_path / "x.def"
    file.write_text("# made by hpcdeploy 1\n")
    with pytest.raises(ConfigError, match="may have been edited"):
        write_generated({file: "# made by hpcdeploy 1\n"}, edited=True)


@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_file_is_never_replaced(tmp_path: Path, force: bool) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, said in ((tmp_path, "is a folder"), (pipe, "named pipe"), (Path("/dev/null"), "a device")):
        with pytest.raises(ConfigError, match=said):
            write_generated({path: "x"}, force=force)
    assert pipe.is_fifo()
