"""Ignore files are read as git reads them: git itself is the judge."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcdeploy.flows.ignoring import kept, leaves_out, read_rules

PATHS = (
    *("a", "b.txt", "a b", "build/x", "build/y/z.o", "src/build/x", "src/a.py", "src/a.pyc", "src/deep/er/a.pyc"),
    *("doc/frotz/a", "ab/doc/frotz/b", "foo/bar", "ab/foo/bar/c", "x/y/foo", "[x]", "!bang", "#hash", "-dash", "na\u00efve"),
    *("data/keep/one", "data/drop/two", "data/.hidden", "end ", "back\\slash", "a1", "a-", "a]", "Z"),
)


def git_ignores(folder: Path, text: str, paths: tuple[str, ...]) -> set[str]:
    (folder / ".gitignore").write_text(text, encoding="utf-8")
    said = subprocess.run(
        ["git", "-c", "core.excludesFile=", "-C", str(folder), "check-ignore", "--no-index", "--stdin", "-z"],
        input=b"\0".join(path.encode() for path in paths),
        stdout=subprocess.PIPE,
        check=False,
    )
    return {name.decode() for name in said.stdout.split(b"\0") if name}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    for path in PATHS:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch() if not (folder / path).is_dir() else None
    return folder


def ours(text: str, paths: tuple[str, ...]) -> set[str]:
    return set(paths) - set(kept(read_rules(text), paths))


@pytest.mark.parametrize(
    "text",
    [
        *("*.pyc", "build", "build/", "/build", "/build/", "src/build", "src/*.py", "doc/frotz/", "/*", "**/foo", "foo/**"),
        *(
            "ab/**/bar",
            "**/build/*",
            "data/*\n!data/keep",
            "data/\n!data/keep/one",
            "*\n!*.txt",
            "!a\na",
            "\\#hash",
            "#hash",
        ),
        *("\\!bang", "!bang", "end\\ ", "end ", "[x]", "\\[x\\]", "a[0-9]", "a[!0-9]", "a[^0-9]", "a[]-]", "a[", "[a-"),
        *(
            "?",
            "??",
            "back\\\\slash",
            "a\\",
            "na\u00efve",
            "na?ve",
            "na??ve",
            "-dash",
            "*dash",
            "a b",
            " a b",
            "",
            "/",
            "//",
        ),
        *("!", "**", "a**", "***", "src\r\nbuild\r\n", "\ufeffbuild", "data/.*", "x/*/foo", "x/**", "**/", "./a"),
    ],
)
def test_a_line_means_what_it_means_to_git(text: str, repository: Path) -> None:
    assert ours(text, PATHS) == git_ignores(repository, text, PATHS)


PIECES = st.sampled_from(
    ["*", "**", "?", "/", "a", "b", "build", "src", "data", "keep", ".py", "[ab]", "[!a]", "!", "#", " ", "\\a"]
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.lists(PIECES, min_size=1, max_size=5).map("".join), min_size=1, max_size=4).map("\n".join))
def test_any_lines_mean_what_they_mean_to_git(repository: Path, text: str) -> None:
    assert ours(text, PATHS) == git_ignores(repository, text, PATHS), text


def test_a_deeper_file_has_the_last_word_below_its_folder() -> None:
    rules = (*read_rules("*.dat"), *read_rules("!keep.dat", "src"))
    assert kept(rules, ["keep.dat", "src/keep.dat", "src/b.dat", "src/x/keep.dat"]) == ["src/keep.dat", "src/x/keep.dat"]
    assert not leaves_out(rules, "srcs/x", is_folder=False)
