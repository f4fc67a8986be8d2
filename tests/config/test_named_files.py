"""Which files of this machine a project's settings name, and which of them lie outside of the project."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from hpcdeploy.config.files import load_project
from hpcdeploy.config.job_schema import read_options
from hpcdeploy.config.named_files import NamedFile, files_of_job, files_of_job_here, files_of_secrets, outside
from hpcdeploy.config.project import Project
from hpcdeploy.config.resolution import resolve_job, resolve_job_here
from hpcdeploy.errors import ConfigError
from hpcdeploy.image import Secret


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a home folder with a key and a table in it."""
    (tmp_path / "home/.ssh").mkdir(parents=True)
    (tmp_path / "home/.ssh/key").write_text("PRIVATE")
    (tmp_path / "home/p.csv").write_text("x\n1\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def project(home: Path, job: str) -> Project:
    folder = home.parent / "project"
    folder.mkdir(exist_ok=True)
    text = f"[image]\n[clusters.hpc]\nhost = 'x'\n[jobs.train]\ncommand = ['true']\n{job}\n"
    (folder / "hpcdeploy.toml").write_text(text)
    return load_project(folder, {"HOME": "/nonexistent"})


def named(project: Project, options: Mapping[str, object] | None = None) -> list[str]:
    found = files_of_job(project.jobs["train"], read_options(options or {}), project.root)
    return [f"{file.key} {file.source} {file.path}" for file in outside(found, project.root)]


SAID = [
    ("inputs", "inputs = ['~/.ssh/key:k']", "~/.ssh/key", ".ssh/key"),
    ("inputs", "inputs = [{ source = '../home/.ssh', destination = 'k' }]", "../home/.ssh", ".ssh"),
    ("inputs", "inputs = ['link:k']", "link", ".ssh/key"),
    ("inputs", "inputs = ['folder/key:k']", "folder/key", ".ssh/key"),
    ("code", "code = '~'", "~", ""),
    ("code", "code = { source = 'folder' }", "folder", ".ssh"),
    ("sweep.file", "sweep = { file = '~/p.csv' }", "~/p.csv", "p.csv"),
    ("sweep.file", "sweep = { file = '../home/p.csv' }", "../home/p.csv", "p.csv"),
    ("image", "image = '../home/x.sif'", "../home/x.sif", "x.sif"),
]
OPTIONS: Mapping[str, Mapping[str, object]] = {
    "inputs": {"inputs": ["a:k"]},
    "code": {"code": False},
    "sweep.file": {"array": "0-3"},
    "image": {"image": "default"},
}


@pytest.mark.parametrize(("key", "said", "source", "place"), SAID)
def test_every_key_that_leads_out_is_found_and_given_before_a_file_is_read(
    home: Path, key: str, said: str, source: str, place: str
) -> None:
    known = project(home, said)
    (known.root / "link").symlink_to(home / ".ssh/key")
    (known.root / "folder").symlink_to(home / ".ssh")
    expected = NamedFile(key=key, source=source, path=home / place)
    admitted: list[NamedFile] = []

    def admit(files: tuple[NamedFile, ...]) -> None:
        admitted.extend(files)
        raise ConfigError("no")

    (home / "p.csv").unlink()  # reading it would be an error of its own
    with pytest.raises(ConfigError, match=r"^no$"):
        resolve_job(known, "train", "hpc", admit=admit)
    assert admitted == [expected]
    with pytest.raises(ConfigError, match="name files outside of the project"):
        resolve_job(known, "train", "hpc")
    assert named(known, OPTIONS[key]) == []


def test_an_absolute_path_counts_by_where_it_leads(home: Path) -> None:
    inside = home.parent / "project/data.csv"
    known = project(home, f"inputs = ['{inside}:a', '{home}/.ssh/key:b']")
    assert named(known) == [f"inputs {home}/.ssh/key {home}/.ssh/key"]


def test_links_that_lead_to_each_other_lead_nowhere(home: Path) -> None:
    known = project(home, "inputs = ['loop']")
    (known.root / "loop").symlink_to("other")
    (known.root / "other").symlink_to("loop")
    assert named(known) == []


def test_files_of_the_project_and_of_its_work_tree_need_no_question(home: Path) -> None:
    said = "code = '..'\ninputs = ['data:a', '../project/b', 'not/../there:c']\nsweep = { file = 'p.csv' }"
    known = project(home, said)
    assert named(known) == [f"code .. {home.parent}"]
    subprocess.run(["git", "init", "-q", str(home.parent)], check=True, capture_output=True)
    assert named(known) == [f"code .. {home.parent}"]  # it holds the home folder
    (home.parent / ".git").rename(home.parent / "other")
    subprocess.run(["git", "init", "-q", str(known.root)], check=True, capture_output=True)
    below = known.root / "below"
    below.mkdir()
    (below / "hpcdeploy.toml").write_text((known.root / "hpcdeploy.toml").read_text())
    assert named(load_project(below, {"HOME": "/nonexistent"})) == []


def test_what_the_person_names_is_free(home: Path) -> None:
    known = project(home, "inputs = ['a']")
    words = {"inputs": ["~/.ssh/key:k"], "code": "~/.ssh", "sweep": {"file": str(home / "p.csv")}}
    assert named(known, words) == []
    job = resolve_job(known, "train", "hpc", read_options(words))
    assert job.array
    assert job.array.size == 1
    (home / "link.csv").symlink_to(home / ".ssh/key")
    with pytest.raises(ConfigError, match=r"link\.csv: found no task"):  # read, since the person names it
        resolve_job(known, "train", "hpc", read_options({"sweep": {"file": str(home / "link.csv")}}))


def test_here_it_is_what_the_container_would_see(home: Path) -> None:
    said = (
        f"code = '~'\ninputs = ['~/.ssh/key:/k', '~/.ssh/key:relative']\nsweep = {{ file = '~/p.csv' }}\n"
        f"binds = ['$HOME/.ssh:/s', '$NOT_SET_HERE/x', '{home.parent}/project:/p', '/other']"
    )
    known = project(home, said)
    found = outside(
        files_of_job_here(known.jobs["train"], read_options({"binds": ["/mine:/other"]}), known.root), known.root
    )
    assert [(file.key, file.path) for file in found] == [
        ("code", home),
        ("inputs", home / ".ssh/key"),
        ("binds", home / ".ssh"),
        ("sweep.file", home / "p.csv"),
    ]
    with pytest.raises(ConfigError, match="name files outside of the project"):
        resolve_job_here(known, "train")
    relative = project(home, "code = { source = '~', destination = 'code' }")
    assert list(files_of_job_here(relative.jobs["train"], read_options({}), relative.root)) == []


def test_the_files_of_secrets_are_found_by_name(home: Path) -> None:
    root = home.parent / "project"
    root.mkdir()
    secrets = (
        Secret(name="A", file="~/.ssh/key"),
        Secret(name="B", file="../home/p.csv"),
        Secret(name="C", file="own"),
        Secret(name="D", env="HOME"),
    )
    found = outside(files_of_secrets(secrets, ["A", "B", "C", "D"], root), root)
    assert [(file.key, file.path) for file in found] == [("secrets.A", home / ".ssh/key"), ("secrets.B", home / "p.csv")]
    assert [file.key for file in files_of_secrets(secrets, ["B"], root)] == ["secrets.B"]
