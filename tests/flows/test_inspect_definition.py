"""A definition is inspected as it would be built: bases, stages, arguments, files, notes; what would fail fails here."""

from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cli.inspect_text import facts_of, tell
from hpcdeploy.config.project import Project
from hpcdeploy.environments.channel_address import without_user
from hpcdeploy.errors import ConfigError, DefinitionError
from hpcdeploy.flows.inspect.report import PublishedReport, SourceReport, StageReport
from hpcdeploy.flows.inspect.target import inspect, inspect_definition
from hpcdeploy.image import ImageSettings
from hpcdeploy.source import DefinitionSource
from hpcdeploy.store import Store

TEXT = """\
Bootstrap: docker
From: debian:{{ V }}
Stage: build

%arguments
    V=13
    WHO=nobody

%files
    app/*.py /src/

%post
    make WHO={{ WHO }}

Bootstrap: localimage
From: base.sif

%files from build
    /src /opt/src

%files
    data.csv /opt/

%environment
    exit 0
"""
SETTINGS = ImageSettings(name="own", source=DefinitionSource(file="own.def"), build_args=(("WHO", "me"),))


def nothing(reference: str) -> PublishedReport:
    raise AssertionError(reference)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "app").mkdir()
    for name, size in (("app/a.py", 10), ("app/b.py", 20), ("data.csv", 3000), ("base.sif", 5)):
        (tmp_path / name).write_bytes(b"x" * size)
    (tmp_path / "own.def").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def look(folder: Path, target: str | None = None, settings: ImageSettings = SETTINGS) -> SourceReport:
    project = Project(root=folder, images={settings.name: settings})
    [report] = inspect(target, project, Store(folder / "runs.db"), nothing)
    assert isinstance(report, SourceReport)
    return report


def test_bases_stages_arguments_files_and_notes_are_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = look(folder)
    assert (report.source, report.where, report.image) == ("definition", str(folder / "own.def"), "own")
    assert (report.base, report.final_base) == ("debian:13", "base.sif")
    assert report.stages == (
        StageReport(name="build", bootstrap="docker", base="debian:13"),
        StageReport(name="", bootstrap="localimage", base="base.sif", copies_from=("build",)),
    )
    assert report.arguments == (("V", "13"), ("WHO", "me"))
    assert [(item.name, item.size) for item in report.items] == [
        ("data.csv", 3000),
        ("app/b.py", 20),
        ("app/a.py", 10),
        ("base.sif", 5),
    ]
    assert any("%environment: 'exit' ends every container" in note for note in report.notes)
    assert dict(facts_of(report))["stages"] == "build (docker debian:13); (no name) (localimage base.sif, copies from build)"
    tell(report, top=0)
    printed = capsys.readouterr()
    assert "arguments         V=13, WHO=me" in printed.out
    assert "app/b.py" in printed.out
    assert "'exit' ends every container" in printed.err


def test_a_definition_is_inspected_by_its_path_from_the_working_folder(folder: Path) -> None:
    (folder / "defs").mkdir()
    (folder / "own.def").rename(folder / "defs/tool.def")
    report = look(folder, "defs/tool.def")
    assert (report.where, report.arguments) == ("defs/tool.def", (("V", "13"), ("WHO", "nobody")))
    assert len(report.items) == 4
    project = Project(root=folder, images={})
    with pytest.raises(ConfigError, match=r"does not apply to defs/tool\.def"):
        inspect("defs/tool.def", project, Store(folder / "runs.db"), nothing, environment="gpu")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("docker\n", "podman\n", "Apptainer does not know the agent"),
        ("%files from build", "%files from built", "names no earlier stage"),
        ("%post\n", "%apprun\n", "names no app"),
        ("V=13\n    WHO=nobody\n", "X=1\n", "sets V"),
        ("data.csv", "lost.csv", "'lost.csv', which is not in"),
    ],
)
def test_what_apptainer_would_refuse_fails(folder: Path, old: str, new: str, said: str) -> None:
    (folder / "own.def").write_text(TEXT.replace(old, new))
    with pytest.raises(DefinitionError, match=said):
        look(folder)


def test_all_that_is_missing_is_listed_at_once(folder: Path) -> None:
    (folder / "own.def").write_text(TEXT.replace("V=13\n    WHO=nobody\n", "X=1\n"))
    with pytest.raises(DefinitionError, match=r"uses {{ V }}, {{ WHO }}, but .* sets V, WHO"):
        look(folder, settings=replace(SETTINGS, build_args=()))
    (folder / "own.def").write_text(TEXT.replace("data.csv", "lost.csv").replace("app/", "none/"))
    with pytest.raises(DefinitionError, match=r"names 2 paths that cannot be copied:\n- .*none/\*.py.*\n- .*lost.csv"):
        look(folder)


@pytest.mark.parametrize(
    ("reference", "shown"),
    [
        ("u:s3cr3t@host.example.org/x:1", "host.example.org/x:1"),
        ("docker://u:s3cr3t@host.example.org/x", "docker://host.example.org/x"),
        ("host/x@sha256:" + "a" * 64, "host/x@sha256:" + "a" * 64),
        ("debian:12@sha256:" + "a" * 64, "debian:12@sha256:" + "a" * 64),
        ("debian:12", "debian:12"),
    ],
)
def test_a_reference_is_shown_without_user_and_password(reference: str, shown: str) -> None:
    assert without_user(reference) == shown


@pytest.mark.parametrize("name", ["TOKEN", "GITHUB_TOKEN", "DB_PASSWORD", "API_KEY", "my_secret"])
def test_a_secret_argument_and_a_base_s_password_are_not_shown(folder: Path, name: str) -> None:
    text = f"Bootstrap: docker\nFrom: u:s3cr3t@host.example.org/x\n\n%arguments\n    {name}=s3cr3t\n    KEYBOARD=de\n"
    (folder / "own.def").write_text(f"{text}\n%post\n    echo {{{{ {name} }}}} {{{{ KEYBOARD }}}}\n")
    report = inspect_definition(
        ImageSettings(name="own", source=DefinitionSource(file="own.def")), DefinitionSource(file="own.def"), folder
    )
    assert report.arguments == ((name, "***"), ("KEYBOARD", "de"))
    assert "s3cr3t" not in repr(report)
