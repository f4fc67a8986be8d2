"""The documentation says what is true: options in the cheat sheet, exit codes, states, and links between pages."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from hpcdeploy import errors
from hpcdeploy.config.validators import memory
from hpcdeploy.run import State, TaskStatus
from hpcdeploy.scheduler.slurm.reasons import explain
from hpcdeploy_lab.settings import default_settings
from tests.cli.test_command import Project

SOURCE = Path(__file__).parents[2]
PAGES = [SOURCE / name for name in ("README.md", "CONTRIBUTING.md")] + sorted((SOURCE / "docs").glob("*.md"))


def rows(page: str, heading: str) -> Iterator[tuple[str, ...]]:
    """Read the table under a heading, without its first two lines."""
    text = (SOURCE / "docs" / page).read_text()
    section = text.split(f"## {heading}\n")[1].split("\n## ")[0] if heading else text
    table = [line for line in section.splitlines() if line.startswith("| ")]
    for line in table[1:]:
        if not line.startswith("| ---"):
            yield tuple(cell.strip() for cell in line.strip("|").split(" | "))


@pytest.mark.parametrize(
    ("heading", "scheduler", "prefix"),
    [("Options of sbatch", "slurm", "#SBATCH "), ("Commands of a submit description", "htcondor", "")],
)
def test_each_row_of_the_cheat_sheet_renders_to_its_option(
    heading: str, scheduler: str, prefix: str, tmp_path: Path
) -> None:
    project = Project(tmp_path)
    table = list(rows("cheat-sheet.md", heading))
    assert len(table) >= 10
    jobs = "".join(
        f'[jobs.row{number}]\nimage = "train"\ncommand = ["true"]\n' + "\n".join(re.findall("`([^`]+)`", keys)) + "\n"
        for number, (_, keys) in enumerate(table)
    )
    settings = (tmp_path / "hpcdeploy.toml").read_text() + jobs
    tomllib.loads(settings)
    (tmp_path / "hpcdeploy.toml").write_text(settings)
    for number, (option, _) in enumerate(table):
        done = project.run("render", f"row{number}", "--scheduler", scheduler)
        assert done.returncode == 0, done.stderr.decode()
        assert prefix + option.strip("`") in done.stdout.decode().splitlines(), option


def test_the_page_of_errors_lists_every_exit_code() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.HpcdeployError)]
    listed = {int(row[0]) for row in rows("errors.md", "") if row[0].isdigit()}
    assert {kind.exit_code for kind in kinds} <= listed


def test_the_page_of_errors_lists_every_state() -> None:
    assert {row[0] for row in rows("errors.md", "Job states")} == {state.value for state in State}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]*)(?:#[^)]*)?\)", page.read_text()):
        if target and "://" not in target:
            assert (page.parent / target).exists(), target
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)]*)\)", page.read_text()):
        if "://" not in target:
            assert anchor in anchors((page.parent / target) if target else page), f"{target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_each_template_that_a_page_names_is_one_template(tmp_path: Path) -> None:
    project = Project(tmp_path)
    named = {
        (verb, name)
        for page in PAGES
        for verb, name in re.findall(r"hpcdeploy templates (show|copy) ([\w./-]+)", page.read_text())
    }
    assert len(named) >= 3
    for verb, name in named:
        done = project.run("templates", verb, name)
        assert done.returncode == 0, done.stderr.decode()


def test_the_reasons_of_the_page_are_explained_in_the_same_words() -> None:
    table = list(rows("following.md", "`status`"))
    reasons = [row for row in table if len(row) == 3 and re.fullmatch("`[A-Z][A-Za-z]+`", row[0])]
    assert len(reasons) >= 8
    for reason, meaning, _ in reasons:
        task = TaskStatus(task=0, state=State.PENDING, reason=reason.strip("`"))
        assert explain(task).startswith(f"{meaning}: "), reason


def readme_job() -> str:
    """Return the settings of the README's example job."""
    [block] = re.findall(r"^ *```toml\n( *\[jobs\.train\]\n.*?)^ *```$", PAGES[0].read_text(), re.DOTALL | re.MULTILINE)
    return dedent(block)


@pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])
def test_the_example_job_of_the_readme_fits_a_node_of_the_lab(scheduler: str, tmp_path: Path) -> None:
    job = tomllib.loads(readme_job())["jobs"]["train"]
    lab = default_settings()
    assert job["cpus"] <= lab.cpus
    assert job["gpus"] <= lab.gpus
    assert memory(job["memory"]) * len(lab.nodes) <= lab.memory_mb
    project = Project(tmp_path)
    settings = (tmp_path / "hpcdeploy.toml").read_text().partition("[jobs.train]")[0].replace("[images.other]\n", "")
    (tmp_path / "hpcdeploy.toml").write_text(settings + readme_job())
    (tmp_path / "train.py").write_text("print(1)\n")
    done = project.run("render", "train", "--scheduler", scheduler)
    assert done.returncode == 0, done.stderr.decode()
    assert b"python3 code/train.py --epochs 14" in done.stdout
