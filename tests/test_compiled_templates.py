import os
from pathlib import Path

import jinja2
import pytest

from hpcdeploy.templates import render


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "hpcdeploy" / "templates"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write(tmp_path / "project", "one [= name =]")
    return tmp_path / "project"


def write(project: Path, text: str) -> None:
    (project / "slurm_templates").mkdir(parents=True, exist_ok=True)
    (project / "slurm_templates" / "job.sh").write_text(text)


def rendered(project: Path) -> str:
    return render("slurm_templates/job.sh", {"name": "x"}, overrides=project)


def test_a_template_is_compiled_once(kept: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rendered(project) == "one x"
    assert len(list(kept.iterdir())) == 1
    monkeypatch.delattr(jinja2.Environment, "compile")
    assert rendered(project) == "one x"


def test_a_template_that_was_changed_is_compiled_again(kept: Path, project: Path) -> None:
    rendered(project)
    write(project, "two [= name =]")
    assert rendered(project) == "two x"
    assert len(list(kept.iterdir())) == 1


@pytest.mark.parametrize("damage", [b"", b"j2", b"\x80garbage"], ids=["empty", "cut", "garbage"])
def test_what_was_damaged_is_compiled_again(kept: Path, project: Path, damage: bytes) -> None:
    rendered(project)
    [file] = kept.iterdir()
    whole = file.read_bytes()
    head = whole[: whole.index(b"\x80")]  # jinja2 and Python, by their versions; what follows is a pickle
    for text in (damage, head + damage, whole[:-9]):
        file.write_bytes(text)
        assert rendered(project) == "one x"
        assert file.read_bytes() == whole


def test_where_nothing_can_be_kept_the_template_is_rendered_all_the_same(kept: Path, project: Path) -> None:
    kept.parent.parent.write_text("a file where the folder is to be")
    assert rendered(project) == "one x"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_the_person_reads_and_writes_what_is_kept(
    kept: Path, project: Path, umask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.umask(umask)
    try:
        rendered(project)
    finally:
        os.umask(before)
    levels = [kept.parent.parent, kept.parent, kept]
    assert [oct(path.stat().st_mode & 0o777) for path in (*levels, *kept.iterdir())] == ["0o700"] * 3 + ["0o600"]
    monkeypatch.delattr(jinja2.Environment, "compile")
    assert rendered(project) == "one x"


def plant(kept: Path, project: Path) -> Path:
    """Replace a compiled template by other code, as a user with write permission can; return its file."""
    rendered(project)
    [file] = kept.iterdir()
    file.write_bytes(file.read_bytes().replace(b"one ", b"EVIL"))
    assert rendered(project) == "EVILx", "what the person alone can have written is used"
    return file


@pytest.mark.parametrize("place", ["the file", "its folder", "the folder above"])
@pytest.mark.parametrize("how", ["group", "everybody", "owner"])
def test_compiled_templates_that_others_can_have_written_are_not_loaded(
    kept: Path, project: Path, place: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = plant(kept, project)
    path = {"the file": file, "its folder": kept, "the folder above": kept.parent}[place]
    me = os.geteuid()
    if how != "owner":
        path.chmod(path.stat().st_mode | (0o020 if how == "group" else 0o002))
    elif me == 0:  # only root can change an owner; other users act as another user here
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr("hpcdeploy.folders.os.geteuid", lambda: me + 1)
    assert rendered(project) == "one x"
    if how == "owner" and place != "the file":  # nothing is cached in a folder of another user
        assert b"EVIL" in file.read_bytes()
        return
    assert b"EVIL" not in file.read_bytes()
    monkeypatch.delattr(jinja2.Environment, "compile")
    assert rendered(project) == "one x", "it is kept again, in private"


def test_filters_of_another_time_are_not_kept(kept: Path, project: Path) -> None:
    write(project, "[= 'a' | word =]")
    for answer in ("first", "second"):
        found = render("slurm_templates/job.sh", {}, filters={"word": lambda _text, said=answer: said}, overrides=project)
        assert found == answer


def test_what_was_compiled_in_another_manner_is_not_used(kept: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered(project)
    [file] = kept.iterdir()
    before = file.read_bytes()
    monkeypatch.setattr("hpcdeploy.templates.__version__", "99")
    assert rendered(project) == "one x"
    assert file.read_bytes() != before
