"""Files of a project that lead out of it, are no files, or are too large: refused, whatever the image is made from."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from hpcdeploy.config.named_files import NamedFile
from hpcdeploy.config.named_files import outside as outside_of
from hpcdeploy.config.project import Project
from hpcdeploy.errors import ConfigError, DefinitionError, EnvironmentFileError, HpcdeployError
from hpcdeploy.flows.generate import dockerfile_of, generate, write_dockerfile
from hpcdeploy.flows.init import init
from hpcdeploy.flows.inspect.report import PublishedReport, SourceReport
from hpcdeploy.flows.inspect.target import inspect
from hpcdeploy.image import Definition, FileCopy, ImageSettings
from hpcdeploy.ownership import objection, trusted_users
from hpcdeploy.source import DefinitionSource, DockerfileSource, OciConfig, PixiSource, Source, SpackSource
from hpcdeploy.store import Store
from tests.special_files import SPECIAL
from tests.test_ownership import ANOTHER, acl_for

SECRET = "-----BEGIN OPENSSH PRIVATE KEY-----"
DEFINITION = "Bootstrap: docker\nFrom: debian:13\n\n%post\n    true\n"
PIXI = """\
[workspace]
name = "demo"
channels = ["conda-forge"]
platforms = ["linux-64"]

[activation]
scripts = ["start.sh"]
"""
LOCK = """\
version: 6
environments:
  default:
    channels:
    - url: https://conda.anaconda.org/conda-forge/
    packages:
      linux-64: []
packages: []
"""

FILES: dict[str, tuple[Source, Mapping[str, str]]] = {
    "definition": (DefinitionSource(file="own.def"), {"own.def": DEFINITION}),
    "dockerfile": (
        DockerfileSource(),
        {
            "Dockerfile": "FROM debian:13\nCOPY app /app\n",
            ".dockerignore": "app/left\n",
            "app/main.py": "x\n",
            "app/left": "x\n",
        },
    ),
    "pixi": (
        PixiSource(),
        {"pixi.toml": PIXI, "pixi.lock": LOCK, "start.sh": "export A=1\n", ".pixi/config.toml": "tls-no-verify = false\n"},
    ),
    "spack": (
        SpackSource(repos=("repo",)),
        {
            "spack.yaml": "spack:\n  specs: [zlib]\n  include: [more.yaml]\n",
            "spack.lock": '{"_meta": {"lockfile-version": 6}, "roots": [{"hash": "a", "spec": "zlib@1"}], "concrete_specs": '
            '{"a": {"name": "zlib", "namespace": "builtin", "arch": {"target": "zen3"}}}}',
            "more.yaml": "config: {}\n",
            "repo/repo.yaml": "repo: {namespace: mine}\n",
        },
    ),
}
EACH = [(kind, name) for kind, (_, files) in FILES.items() for name in files if not name.startswith("app/")]


def write(folder: Path, kind: str) -> Path:
    for name, text in FILES[kind][1].items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def settings(kind: str) -> ImageSettings:
    return ImageSettings(name="x", source=FILES[kind][0])


def make(folder: Path, kind: str) -> Definition:
    return generate(settings(kind), folder, image_config=lambda _reference: OciConfig())


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Make a file that is not the project's."""
    file = tmp_path / "outside" / "key"
    file.parent.mkdir()
    file.write_text(SECRET)
    return file


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "top" / "project"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize(("kind", "name"), EACH)
def test_each_of_the_files_counts(project: Path, kind: str, name: str) -> None:
    """Without this the tests below could reject files that are never read."""
    before = make(write(project, kind), kind).inputs
    (project / name).unlink()
    try:
        assert make(project, kind).inputs != before
    except HpcdeployError as error:
        assert Path(name).name in str(error)  # noqa: PT017 - one of both


@pytest.mark.parametrize(("kind", "name"), EACH)
def test_a_file_that_is_a_link_out_of_the_project_is_refused(project: Path, outside: Path, kind: str, name: str) -> None:
    (write(project, kind) / name).unlink()
    (project / name).symlink_to(outside)
    with pytest.raises((EnvironmentFileError, DefinitionError), match=r"outside (of )?the project") as told:
        make(project, kind)
    assert str(project / name) in str(told.value) or name in str(told.value)
    assert SECRET not in str(told.value)


@pytest.mark.parametrize("kind", FILES)
def test_what_the_settings_name_above_the_project_is_refused(project: Path, kind: str) -> None:
    write(project.parent, kind)
    images: dict[str, Source] = {
        "definition": DefinitionSource(file="../own.def"),
        "dockerfile": DockerfileSource(file="../Dockerfile", context=".."),
        "pixi": PixiSource(workspace=".."),
        "spack": SpackSource(environment=".."),
    }
    with pytest.raises((EnvironmentFileError, DefinitionError), match="outside of the project"):
        generate(ImageSettings(name="x", source=images[kind]), project, image_config=lambda _reference: OciConfig())


@pytest.mark.parametrize("kind", ["definition", "dockerfile", "pixi"])
def test_up_to_the_root_of_a_git_work_tree_files_are_taken(project: Path, kind: str) -> None:
    subprocess.run(["git", "init", "-q", str(project.parent)], check=True, capture_output=True)
    write(project.parent, kind)
    for name in FILES[kind][1]:
        (project / name).parent.mkdir(exist_ok=True)
        if name.startswith("app/"):  # of a Dockerfile's context links stay links
            (project / name).write_text("x\n")
        else:
            (project / name).symlink_to(project.parent / name)
    assert make(project, kind).inputs == make(project.parent, kind).inputs


def test_the_context_of_a_dockerfile_may_be_the_whole_work_tree_with_git_s_own_folder(project: Path) -> None:
    top = write(project.parent, "dockerfile")
    subprocess.run(["git", "init", "-q", str(top)], check=True, capture_output=True)
    (top / "Dockerfile").unlink()
    (project / "Dockerfile").write_text("FROM debian:13\nCOPY . /app\n")
    settings = ImageSettings(name="x", source=DockerfileSource(context=".."))
    made = generate(settings, project, image_config=lambda _reference: OciConfig())
    sources = {str(file.source.resolve().relative_to(top)) for file in made.files}
    assert {"app/main.py", "project/Dockerfile", ".git/HEAD"} <= sources
    assert "app/left" not in sources
    (top / "app/main.py").chmod(0o666)
    with pytest.raises(EnvironmentFileError, match=r"main\.py may be written by everybody"):
        generate(settings, project, image_config=lambda _reference: OciConfig())


@pytest.mark.parametrize("name", [".git", ".git/config", "sub/.git/config", "link", "folder"])
@pytest.mark.parametrize("by", ["files", "definition"])
def test_git_s_own_folder_does_not_go_into_an_image(project: Path, by: str, name: str) -> None:
    for place in (".git", "sub/.git"):
        (project / place).mkdir(parents=True)
        (project / place / "config").write_text(SECRET)
    (project / "link").symlink_to(".git/config")
    (project / "folder").mkdir()
    (project / "folder/config").symlink_to("../.git/config")
    (project / "own.def").write_text(DEFINITION + (f"\n%files\n    {name} /opt/x\n" if by == "definition" else ""))
    copies = (FileCopy(source=name, destination="/opt/x"),) if by == "files" else ()
    source = DefinitionSource(file="own.def") if by == "definition" else PixiSource()
    write(project, "pixi")
    image = ImageSettings(name="x", source=source, files=copies)
    with pytest.raises(DefinitionError, match="git's own"):
        generate(image, project, image_config=lambda _reference: OciConfig())


def test_a_file_of_git_s_own_folder_is_asked_about_before_it_is_sent(project: Path) -> None:
    (project / ".git").mkdir()
    for name in (".git/config", "data"):
        (project / name).write_text("x")
    named = [NamedFile(key="inputs", source=name, path=project / name) for name in (".git/config", "data", ".git")]
    assert [file.source for file in outside_of(named, project)] == [".git/config", ".git"]


def test_the_home_folder_is_no_work_tree_for_what_lies_in_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many users keep their settings in a repository whose work tree is the home folder, which has their private keys."""
    home = project.parent
    subprocess.run(["git", "init", "-q", str(home)], check=True, capture_output=True)
    (home / ".ssh").mkdir()
    (home / ".ssh/id").write_text(DEFINITION)
    source = DefinitionSource(file="../.ssh/id")
    assert generate(ImageSettings(name="x", source=source), project).text == DEFINITION
    for place in (home, home / "deeper"):
        monkeypatch.setenv("HOME", str(place))
        with pytest.raises(DefinitionError, match=f"the git work tree {home} contains your home folder"):
            generate(ImageSettings(name="x", source=source), project)


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("special", SPECIAL)
@pytest.mark.parametrize(("kind", "name"), EACH)
def test_what_is_no_file_is_refused_and_not_waited_for(project: Path, kind: str, name: str, special: str) -> None:
    (write(project, kind) / name).unlink()
    reason = special if special != "a device" else "/dev/null"
    with SPECIAL[special](project / name), pytest.raises(HpcdeployError, match=f"{reason}|not a regular file"):
        make(project, kind)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, name in EACH if "config" not in name])
def test_a_file_of_absurd_size_is_refused(project: Path, kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    largest = max(len(text) for text in FILES[kind][1].values())
    monkeypatch.setattr("hpcdeploy.flows.sources.staging.LARGEST_TEXT", largest)
    monkeypatch.setattr("hpcdeploy.flows.sources.staging.LARGEST_LOCK", largest)
    assert make(write(project, kind), kind).text
    with (project / name).open("a") as file:
        file.write("#" + "x" * largest)
    if name == "start.sh":  # an activation script may be long: then what it names is not looked for
        monkeypatch.setattr("hpcdeploy.flows.sources.activation.MOST", largest)
        assert make(project, kind).text
        return
    with pytest.raises(HpcdeployError, match=rf"{name} .*bytes, above the limit of {largest} for such a file"):
        make(project, kind)


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, name in EACH if kind in ("pixi", "spack") and name[0] in "ps"]
)
def test_inspect_refuses_what_generate_refuses(project: Path, outside: Path, kind: str, name: str, tmp_path: Path) -> None:
    if name == "start.sh":
        return
    write(project, kind)
    store = Store(tmp_path / "runs.db")
    images = {"x": settings(kind)}
    whole = Project(root=project, images=images)

    def by_folder() -> object:
        return inspect(str(project), Project(root=project), store, _describe)

    def by_image() -> object:
        return inspect("x", whole, store, _describe)

    for report in (by_folder, by_image):
        assert report()
    (project / name).unlink()
    (project / name).symlink_to(outside)
    for report in (by_folder, by_image):
        with pytest.raises(EnvironmentFileError, match="outside of the project") as told:
            report()
        assert SECRET not in str(told.value)


def _describe(_reference: str) -> PublishedReport:
    raise AssertionError("no registry is asked here")


@pytest.mark.parametrize("name", ["own.def", "pixi.lock"])
def test_a_file_that_the_person_names_may_lie_anywhere(
    project: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(project.parent, "definition" if name == "own.def" else "pixi") / name
    monkeypatch.chdir(project)
    for words in (str(file), f"../{name}"):
        [report] = inspect(words, Project(root=project), Store(tmp_path / "runs.db"), _describe)
        assert isinstance(report, SourceReport)
        assert report.where == words


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("special", SPECIAL)
def test_files_that_are_named_are_not_waited_for_either(project: Path, tmp_path: Path, special: str) -> None:
    store = Store(tmp_path / "runs.db")
    for name in ("x.sif", "x.def", "pixi.lock", "pixi.toml"):
        with SPECIAL[special](project / name), pytest.raises(HpcdeployError, match=f"{special}|/dev/null"):
            inspect(str(project / name), Project(root=project), store, _describe)
        (project / name).unlink()


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("special", SPECIAL)
def test_init_waits_for_no_pipe(project: Path, special: str) -> None:
    for name in ("pixi.toml", "pyproject.toml"):
        with SPECIAL[special](project / name), pytest.raises((EnvironmentFileError, ConfigError), match=special):
            init(project)
        (project / name).unlink()
    assert list(project.iterdir()) == []


@pytest.mark.parametrize("name", ["pixi.toml", "pyproject.toml"])
def test_init_reads_no_manifest_outside(project: Path, outside: Path, name: str) -> None:
    outside.write_text(f"[tool.pixi]\nchannels = 3 {SECRET}")
    (project / name).symlink_to(outside)
    with pytest.raises(EnvironmentFileError, match="outside of the project") as told:
        init(project)
    assert SECRET not in str(told.value)


@pytest.mark.parametrize("mode", [0o755, 0o775, 0o777])
def test_whoever_may_write_to_the_work_trees_own_folder_may_write_all_of_it(project: Path, mode: int) -> None:
    top = write(project.parent, "definition")
    subprocess.run(["git", "init", "-q", str(top)], check=True, capture_output=True)
    source = DefinitionSource(file="../own.def")
    top.chmod(mode)
    if mode == 0o775:  # a group with others in it (base-passwd: adm has the number 4)
        os.chown(top, -1, 4 if os.geteuid() == 0 else os.getgid())
    if not objection(top, trusted_users({})):
        assert generate(ImageSettings(name="x", source=source), project).text == DEFINITION
        return
    with pytest.raises(DefinitionError, match=rf"but {top} may be written by .*, files that others own or may change"):
        generate(ImageSettings(name="x", source=source), project)


def test_a_link_above_the_project_that_others_can_replace_is_not_followed(project: Path) -> None:
    top = project.parent
    subprocess.run(["git", "init", "-q", str(top)], check=True, capture_output=True)
    write(top / "private", "definition")
    (top / "open").mkdir()
    (top / "open/link").symlink_to("../private")
    (project / "own.def").symlink_to("../open/link/own.def")
    settings = ImageSettings(name="x", source=DefinitionSource(file="own.def"))
    assert generate(settings, project).text == DEFINITION
    (top / "open").chmod(0o777)
    with pytest.raises(DefinitionError, match=rf"but {top}/open may be written by everybody"):
        generate(settings, project)


def test_whoever_an_access_control_list_lets_write_may_write_above_the_project(project: Path) -> None:
    top = write(project.parent, "definition")
    subprocess.run(["git", "init", "-q", str(top)], check=True, capture_output=True)
    source = DefinitionSource(file="../own.def")
    assert generate(ImageSettings(name="x", source=source), project).text == DEFINITION
    os.setxattr(top / "own.def", "system.posix_acl_access", acl_for(ANOTHER))
    with pytest.raises(DefinitionError, match=r"own\.def may be written by .*run 'chmod go-w"):
        generate(ImageSettings(name="x", source=source), project)


@pytest.mark.usefixtures("in_time")
def test_a_dockerignore_that_is_no_file_is_left_alone(project: Path) -> None:
    write(project, "pixi")
    os.mkfifo(project / ".dockerignore")
    text = dockerfile_of(ImageSettings(name="x", source=PixiSource()), project)
    _, ignore = write_dockerfile(text, project / "Dockerfile", project)
    assert ignore == project / "Dockerfile.dockerignore"
