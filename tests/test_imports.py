"""Imports point down only, neighbours never import each other, and each dependency has one seam."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "hpcdeploy"

# From the top to the bottom, as docs/architecture.md draws it; those of one row are neighbours.
ROWS = (
    ("__main__",),
    ("cli",),
    ("flows",),
    ("remote",),
    ("apptainer", "direct", "engine", "registry", "scheduler", "transport", "store"),
    ("build_keys", "cache_items", "config", "definition", "picture", "tags"),
    (
        *("templates", "sandbox", "compiled_templates", "boundary", "environments", "image", "job", "job_field"),
        *("known_files", "parameters", "cluster", "run", "shell", "shell_script", "staged_files"),
    ),
    ("ownership", "git_changes", "generated_file"),
    (
        *(
            "architecture",
            "folders",
            "git",
            "gpus",
            "progress",
            "regular_file",
            "secret",
            "source",
            "toml",
            "whole_file",
            "wildcards",
        ),
    ),
    ("errors", "checked_values", "limits", "plain_text", "private"),
    ("frozen",),
)
# Values that are made of values, and text that is made of quoted words.
ALLOWED = {
    *(
        ("cluster", "job"),
        ("run", "cluster"),
        ("staged_files", "cluster"),
        ("staged_files", "shell"),
        ("job", "job_field"),
        ("job", "parameters"),
        ("job_field", "cluster"),
    ),
    *(("templates", "compiled_templates"), ("templates", "sandbox"), ("sandbox", "boundary")),
    *(("shell_script", "templates"), ("shell_script", "shell")),
}
SEAMS = {"spython": "apptainer", "oras": "registry", "paramiko": "transport"}
ONE_MODULE = {"spython": "apptainer/client.py", "oras": "registry/oci_requests.py"}
"""Libraries that only one module uses, so that another one could take their place."""
ROW_OF = {part: row for row, parts in enumerate(ROWS) for part in parts}


def imports(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(file for file in PACKAGE.rglob("*.py") if part_of(file) != "__init__")


def test_imports_point_down() -> None:
    wrong = [
        f"{file.relative_to(PACKAGE)} imports {name}, which is not below it"
        for file in FILES
        for name in sorted(imports(file))
        if name.startswith("hpcdeploy.") and not may_import(part_of(file), name.split(".")[1])
    ]
    assert wrong == []


def may_import(own: str, other: str) -> bool:
    return other in {own, "__version__"} or ROW_OF[other] > ROW_OF[own] or (own, other) in ALLOWED


def test_a_dependency_is_imported_at_its_seam_only() -> None:
    wrong = [
        f"{file.relative_to(PACKAGE)} imports {name}"
        for file in FILES
        for name in sorted(imports(file))
        if SEAMS.get(name.split(".")[0]) not in {None, part_of(file)}
    ]
    assert wrong == []


def test_a_library_that_could_be_replaced_is_used_by_one_module() -> None:
    users = {
        library: [
            str(file.relative_to(PACKAGE))
            for file in FILES
            if any(name == library or name.startswith(f"{library}.") for name in imports(file))
        ]
        for library in ONE_MODULE
    }
    assert users == {library: [module] for library, module in ONE_MODULE.items()}


LAB = PACKAGE.parent / "lab" / "hpcdeploy_lab"


def test_the_lab_uses_no_flow_and_hpcdeploy_no_lab() -> None:
    """hpcdeploy-lab is a distribution of its own: its verb may print as the other verbs do, the rest needs values only."""
    above = {part for row in ROWS[:5] for part in row}
    upward = [
        f"{file.name} imports {name}"
        for file in LAB.rglob("*.py")
        for name in sorted(imports(file))
        if name.split(".")[0] == "hpcdeploy" and (name.split(".")[1:2] or [""])[0] in above
    ]
    names = ("hpcdeploy.cli", "hpcdeploy.cli.options", "hpcdeploy.cli.options.AsJson", "hpcdeploy.cli.show")
    assert upward == [f"command.py imports {name}" for name in names]
    assert [file for file in FILES if any(name.startswith("hpcdeploy_lab") for name in imports(file))] == []
