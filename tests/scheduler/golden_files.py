"""Compare scripts with the files in ``golden/``: some as a whole, of the others what differs from script to script."""

from pathlib import Path

from hpcdeploy.shell_script import FOLDER, library_file
from hpcdeploy.templates import shipped_root
from tests import golden

GOLDEN = Path(__file__).parent / "golden"
WHOLE = frozenset({"slurm-plain", "htcondor-plain"})
"""Scripts that are kept as a whole."""


def without_library(text: str) -> str:
    """Return a script in which the first line of a library file, which has its name, stands for the file."""
    root = shipped_root() / FOLDER
    for path in sorted((*root.rglob("*.sh"), *root.rglob("*.py"))):
        file = library_file(path.relative_to(root).as_posix()).rstrip("\n")
        text = text.replace(file, file.partition("\n")[0])
    return text


def check_golden(name: str, text: str) -> None:
    """Compare a script with its golden file (`tests.golden`)."""
    golden.check_golden(GOLDEN / f"{name}.sh", text if name in WHOLE else without_library(text))
