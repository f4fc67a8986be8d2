import contextlib
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from click import Context
from typer.main import get_command

from hpcdeploy.cli.main import app
from hpcdeploy.cli.verbs import VERBS


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_is_there_and_says_what_it_does(name: str) -> None:
    group = get_command(app)
    command = group.get_command(Context(group), name)  # type: ignore[attr-defined] # typer promises a command, gives a group
    assert command.name == name
    assert command.help.partition("\n\n")[0].split() == VERBS[name].help.split()


def test_no_verb_is_imported_before_it_is_asked_for() -> None:
    code = "import sys, hpcdeploy.cli.main; print(*(name for name in sys.modules if name.startswith('hpcdeploy.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {f"hpcdeploy.cli.{verb.module}" for verb in VERBS.values()} & set(done.stdout.split())


def test_listing_all_verbs_imports_none() -> None:
    code = (
        "import sys\nfrom hpcdeploy.cli.main import main\nsys.argv = ['hpcdeploy', '--help']\n"
        "try:\n    main()\nfinally:\n    print(*(name for name in sys.modules if name.startswith('hpcdeploy.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(name in done.stdout for name in VERBS)
    assert not {f"hpcdeploy.cli.{verb.module}" for verb in VERBS.values()} & set(done.stdout.split())


def test_a_distribution_adds_a_verb_by_an_entry_point(tmp_path: Path) -> None:
    (tmp_path / "more.py").write_text(
        "import typer\napp = typer.Typer(help='Does more.')\n@app.command()\ndef now(): print('more')\n"
    )
    (tmp_path / "more-1.0.dist-info").mkdir()
    (tmp_path / "more-1.0.dist-info/entry_points.txt").write_text(
        "[console_scripts]\nmore = nowhere:main\n\n"
        "[hpcdeploy.verbs]\nmore = more:app\nsubmit = nowhere:app\n\n"
        "[other]\nelse = nowhere:app\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    code = "from hpcdeploy.cli.main import main; main()"

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, env=environment, check=True
        )
        return done.stdout

    assert ["more", "Does", "more."] in [line.split() for line in run("--help").splitlines()]
    assert "else" not in run("--help")
    assert run("more", "now") == "more\n"


HEADINGS = ["Options:", "Images:", "Jobs:", "Runs:", "Clusters:", "This machine:"]


@pytest.mark.parametrize(
    ("words", "headings"),
    [([], HEADINGS), (["submit"], ["Arguments:", "Options:", "Job:"]), (["wait"], ["Arguments:", "Options:"])],
)
def test_help_without_a_terminal_is_plain_text_below_the_same_headings(words: list[str], headings: list[str]) -> None:
    code = "from hpcdeploy.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *words, "--help"], capture_output=True, text=True, check=True)
    assert [line for line in done.stdout.splitlines() if line.endswith(":") and not line.startswith(" ")] == headings
    assert done.stdout.isascii()
    assert "\\" not in done.stdout
    if not words:
        assert all(f"  {name} " in done.stdout and verb.help in done.stdout for name, verb in VERBS.items())


def test_help_on_a_terminal_is_drawn() -> None:
    ours, theirs = pty.openpty()
    code = "from hpcdeploy.cli.main import main; main()"
    with os.fdopen(ours, "rb", buffering=0) as screen:
        process = subprocess.Popen([sys.executable, "-c", code, "--help"], stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        drawn = b""
        with contextlib.suppress(OSError):  # the other end is closed (pty(7))
            while piece := screen.read(4096):
                drawn += piece
        assert process.wait() == 0
    assert "╭".encode() in drawn
