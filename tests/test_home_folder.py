"""Tests run with a home folder of their own."""

import subprocess

from tests import shared


def test_a_login_shell_does_not_read_the_persons_profile() -> None:
    home = subprocess.run(["bash", "-l", "-c", 'printf %s "$HOME"'], capture_output=True, text=True, check=True).stdout
    assert home == str(shared.FOLDER / "home")
    assert not any((shared.FOLDER / "home" / name).exists() for name in (".profile", ".bash_profile", ".bash_login"))
