"""The documentation builds as a site, and a broken link fails the build (``make site``)."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2]


def build(docs: Path, site: Path) -> subprocess.CompletedProcess[str]:
    options = ["--quiet", "--fail-on-warning", "--keep-going", "--nitpicky"]
    return subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(docs), str(site)], capture_output=True, text=True, check=False
    )


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    shutil.copy(SOURCE / "README.md", tmp_path)
    return Path(shutil.copytree(SOURCE / "docs", tmp_path / "docs"))


def test_every_page_is_built_and_in_the_contents(docs: Path, tmp_path: Path) -> None:
    done = build(docs, tmp_path / "site")
    assert (done.returncode, done.stderr) == (0, "")
    contents = (tmp_path / "site" / "index.html").read_text()
    for page in docs.glob("*.md"):
        assert (tmp_path / "site" / f"{page.stem}.html").is_file()
        assert page.stem == "index" or f'href="{page.stem}.html"' in contents


@pytest.mark.parametrize("target", ["missing.md", "errors.md#missing"])
def test_a_broken_link_fails_the_build(target: str, docs: Path, tmp_path: Path) -> None:
    with (docs / "glossary.md").open("a") as page:
        page.write(f"\n[a link]({target})\n")
    done = build(docs, tmp_path / "site")
    assert done.returncode
    assert "glossary.md" in done.stderr
