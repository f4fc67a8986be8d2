"""The limits of CONTRIBUTING.md ("Size"): how long a module and a function may be, and how many parameters it may have."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILES = sorted(file for folder in ("hpcdeploy", "lab") for file in (ROOT / folder).rglob("*.py"))
MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 60
MOST_PARAMETERS = 7


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{file.relative_to(ROOT)}: {node.name}", node


def lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    named = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return len([one for one in named if one.arg not in {"self", "cls"}]) + bool(node.args.vararg) + bool(node.args.kwarg)


def test_a_module_is_short() -> None:
    assert len(FILES) > 200
    too_long = {str(file.relative_to(ROOT)): count for file in FILES if (count := file.read_text().count("\n")) > MOST_LINES}
    assert too_long == {}


def test_a_function_is_short() -> None:
    assert {name: lines(node) for name, node in functions() if lines(node) > MOST_LINES_OF_A_FUNCTION} == {}


def test_a_function_has_few_parameters() -> None:
    """More of them are grouped by what they mean, as typer's options are (`hpcdeploy.cli.options.spread`)."""
    assert {name: parameters(node) for name, node in functions() if parameters(node) > MOST_PARAMETERS} == {}
