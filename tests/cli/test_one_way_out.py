"""All that a command writes goes through `hpcdeploy.cli.show`: so it is cleaned in one place."""

import ast
from pathlib import Path

CLI = Path(__file__).parent.parent.parent / "hpcdeploy" / "cli"
WRITERS = {"print", "input", "Console", "Text", ".echo", ".secho", ".confirm", ".prompt", ".write", ".writelines"}
ALLOWED = {("watch.py", "Console")}  # watch draws what show.cell made


def calls(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name):
                found.add(called.id)
            elif isinstance(called, ast.Attribute) and not (
                isinstance(called.value, ast.Name) and called.value.id == "show"
            ):
                found.add(f".{called.attr}")
    return found


def test_only_one_module_writes_to_a_terminal() -> None:
    files = sorted(CLI.glob("*.py"))
    assert len(files) > 20
    wrong = {
        (file.name, name)
        for file in files
        if file.name != "show.py"
        for name in calls(file) & WRITERS
        if (file.name, name) not in ALLOWED
    }
    assert wrong == set()


def test_the_watch_finds_what_it_watches_for() -> None:
    assert {"print", "Console", "Text", ".write", ".confirm"} <= calls(CLI / "show.py")
