"""Patterns of COPY (Go's filepath.Match) and of .dockerignore (moby/patternmatcher)."""

import pytest

from hpcdeploy.definition.dockerfile.context import match_source, read_ignore
from hpcdeploy.errors import DefinitionError


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.txt", "a.txt", True),
        ("*.txt", ".txt", True),
        ("*", ".hidden", True),
        ("*.txt", "d/a.txt", False),
        ("d/*/x", "d/e/x", True),
        ("**", "d/e", False),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[a-c]x", "bx", True),
        ("[^a-c]x", "bx", False),
        ("[^a]x", "/x", False),
        ("\\*", "*", True),
        ("\\*", "a", False),
        ("[]]", "]", False),
    ],
)
def test_a_source_s_pattern_means_what_go_says(pattern: str, path: str, matches: bool) -> None:
    try:
        assert match_source(pattern, path) is matches
    except DefinitionError:
        assert not matches


@pytest.mark.parametrize(
    ("lines", "path", "ignored"),
    [
        ("*", "a", True),
        ("*", "a/b", True),
        ("a", "a/b/c", True),
        ("a", "b/a", False),
        ("**/a", "b/c/a", True),
        ("**/a", "a", True),
        ("a/**/b", "a/b", True),
        ("a/**/b", "a/x/y/b", True),
        ("a/**", "a/x", True),
        ("*.md\n!README.md", "README.md", False),
        ("!README.md\n*.md", "README.md", True),
        ("*\n!app", "app/src/x.py", False),
        ("*\n!app\n**/__pycache__", "app/__pycache__/x", True),
        ("/a", "a", True),
        ("./a/", "a", True),
        ("# a\n", "# a", False),
        (" # a", "# a", True),
        ("\n\n", "a", False),
        ("a*/b", "ax/b", True),
        ("*/b", "b", False),
        (".", "a", False),
        ("\\!a", "!a", True),
    ],
)
def test_what_is_ignored(lines: str, path: str, ignored: bool) -> None:
    assert read_ignore(lines).ignores(path) is ignored


@pytest.mark.parametrize("lines", ["!", "[a", "a\\", "[]", "[b-a]"])
def test_a_broken_pattern_is_refused(lines: str) -> None:
    with pytest.raises(DefinitionError):
        read_ignore(lines)
