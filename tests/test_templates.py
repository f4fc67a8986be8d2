from pathlib import Path

import pytest

from hpcdeploy.errors import TemplateError
from hpcdeploy.templates import render


def write(folder: Path, text: str) -> Path:
    (folder / "slurm_templates").mkdir()
    (folder / "slurm_templates" / "job.sh").write_text(text)
    return folder


def test_a_template_of_the_projects_own_wins(tmp_path: Path) -> None:
    own = write(tmp_path, "mine: [= name =] {{ STAYS }} <<EOF [[ -n x ]]\n")
    assert render("slurm_templates/job.sh", {"name": "x y"}, overrides=own) == "mine: x y {{ STAYS }} <<EOF [[ -n x ]]\n"


def test_an_undefined_name_is_an_error_with_file_and_line(tmp_path: Path) -> None:
    own = write(tmp_path, "one\ntwo\n[= nobody_knows =]\n")
    with pytest.raises(TemplateError, match=r"job\.sh, line 3: 'nobody_knows' is undefined"):
        render("slurm_templates/job.sh", {}, overrides=own)


def test_a_broken_template_is_an_error_with_file_and_line(tmp_path: Path) -> None:
    own = write(tmp_path, "one\n[% if %]\n")
    with pytest.raises(TemplateError, match=r"job\.sh, line 2"):
        render("slurm_templates/job.sh", {}, overrides=own)


def test_a_missing_template_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match=str(tmp_path)):
        render("slurm_templates/none.sh", {}, overrides=tmp_path)
