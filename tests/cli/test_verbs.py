import subprocess
import sys

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
