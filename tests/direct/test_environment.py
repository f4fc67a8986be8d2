"""A locked environment is installed with py-rattler or pixi, and activated on this machine."""

import base64
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import tomli

from hpcdeploy.apptainer.build_progress import Show
from hpcdeploy.direct.activation import may_run
from hpcdeploy.direct.environment import Workspace, install, installer, post_link_scripts, scripts_that_run
from hpcdeploy.errors import BuildError, MissingProgramError
from hpcdeploy.flows.builders import choose_builder
from hpcdeploy.flows.direct_base import DirectBuild
from hpcdeploy.flows.direct_environment import DoubtError, Installed, install_environment
from hpcdeploy.flows.direct_plan import DirectPlan, Refused, plan_direct
from hpcdeploy.flows.generate import generate
from hpcdeploy.image import ImageSettings
from hpcdeploy.source import OciConfig, PixiSource
from hpcdeploy_lab import channel, wheel
from tests.direct.conda_channel import served

EXAMPLE = Path(__file__).parent.parent.parent / "examples/pixi-gpu"
SETTINGS = ImageSettings(name="example", source=PixiSource(environment="gpu"))
PIXI = """\
#!{python}
import sys
sys.path[:0] = {path}
from hpcdeploy_lab.pixi_standin.main import main
sys.exit(main())
"""


@pytest.fixture
def pixi_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with served(tmp_path) as home:
        monkeypatch.setenv("PIXI_HOME", str(home))
        yield home


@pytest.fixture
def standin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The lab's stand-in for pixi as a program on PATH, with a mirror that it can read: a folder."""
    program = tmp_path / "programs/pixi"
    program.parent.mkdir()
    program.write_text(PIXI.format(python=sys.executable, path=sys.path))
    program.chmod(0o755)
    channel.write(tmp_path / "packages")
    home = tmp_path / "standin-home"
    home.mkdir()
    (home / "config.toml").write_text(f'[mirrors]\n"{channel.URL}" = ["file://{tmp_path / "packages"}"]\n')
    monkeypatch.setenv("PIXI_HOME", str(home))
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return program


def build(project: Path, folder: Path, settings: ImageSettings = SETTINGS, *, chosen: bool = True) -> Installed:
    definition = generate(settings, project)
    plan = plan_direct(settings, project, definition)
    assert isinstance(plan, DirectPlan), plan
    assert plan.pixi is not None
    direct = DirectBuild(plan=plan, downloads=folder / "downloads", is_chosen=chosen)
    base = OciConfig(env=(("PATH", "/usr/local/bin:/usr/bin:/bin"),))
    return install_environment(plan.pixi, definition, base, direct, folder, Show(lambda _: None), 1)


def contents(installed: Installed) -> dict[str, bytes]:
    found = {}
    for entry in (entry for layer in installed.layers for entry in layer.entries()):
        if entry.content is not None:
            with entry.content() as content:
                found[entry.path] = content.read()
    return found


VARIABLES = {
    "CONDA_PREFIX": "/app/.pixi/envs/gpu",
    "DEMO_ACTIVATED": "hpcdeploy-demo-activation 1.0.0",
    "DEMO_GREETING": "hello from [activation.env]",
    "DEMO_PREFIX": "/app/.pixi/envs/gpu",
    "PIXI_PROJECT_MANIFEST": "/app/pixi.toml",
    "PIXI_PROJECT_VERSION": "0.1.0",
}


@pytest.mark.usefixtures("pixi_home")
def test_rattler_installs_what_the_image_has_and_the_activation_knows_only_paths_of_the_image(tmp_path: Path) -> None:
    installed = build(EXAMPLE, tmp_path)
    assert [name for name, _ in installer()] == ["py-rattler"]
    for name, value in VARIABLES.items():
        assert f'export {name}="{value}"\n' in installed.variables
    assert 'export PATH="/app/.pixi/envs/gpu/bin""${PATH:+:$PATH}"\n' in installed.variables
    found = contents(installed)
    assert b'prefix="/app/.pixi/envs/gpu"' in found["app/.pixi/envs/gpu/bin/hpcdeploy-demo"]
    assert found["app/entrypoint.sh"].startswith(b"#!/bin/bash\nexport PATH=")
    assert [path for path, content in found.items() if os.fsencode(tmp_path) in content] == []


@pytest.mark.usefixtures("standin")
def test_pixi_installs_and_activates_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    with_pixi = build(EXAMPLE, tmp_path / "a")
    assert [name for name, _ in installer()] == ["pixi"]
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    (tmp_path / "b").mkdir()
    with served(tmp_path / "b") as home:
        monkeypatch.setenv("PIXI_HOME", str(home))
        with_rattler = build(EXAMPLE, tmp_path / "b")
    assert with_pixi.variables == with_rattler.variables
    one, other = contents(with_pixi), contents(with_rattler)
    assert set(one) - set(other) == {"app/.pixi/envs/gpu/conda-meta/pixi"}
    differ = {path for path in other if one[path] != other[path]}
    assert differ == {"app/.pixi/.gitignore", "app/.pixi/.condapackageignore"}
    assert [path for path, content in one.items() if os.fsencode(tmp_path) in content] == []


@pytest.mark.usefixtures("pixi_home")
def test_scripts_of_packages_run_only_where_the_user_chose_this_builder(tmp_path: Path) -> None:
    with pytest.raises(DoubtError, match=r"1 scripts or variables, such as etc/conda/activate.d/hpcdeploy-demo.sh"):
        build(EXAMPLE, tmp_path, chosen=False)


@pytest.mark.parametrize("value", ["plain", "a$HOME", "${CONDA_PREFIX}/x:$PATH", "it's", 'no "expansion"', "a\\b", "`x`"])
def test_a_value_that_only_names_variables_runs_nothing(value: str) -> None:
    assert not may_run(value)


@pytest.mark.parametrize(
    "value", ["$(id)", "${A:-$(id)}", "$A`id`", '$A"; id; "', '$A\\"; id', "$((A))", "${A[0]}", "${A@P}", "$["]
)
def test_a_value_that_may_run_a_command_is_detected(value: str) -> None:
    assert may_run(value)


def project_with(tmp_path: Path, manifest: str = "", settings: str = "") -> Path:
    project = tmp_path / "project"
    shutil.copytree(EXAMPLE, project)
    text = (project / "pixi.toml").read_text()
    (project / "pixi.toml").write_text(text.replace("\n[activation.env]\n", f"\n[activation.env]\n{manifest}\n"))
    if settings:
        (project / ".pixi").mkdir(exist_ok=True)
        (project / ".pixi/config.toml").write_text(settings)
    return project


def test_variables_of_the_workspace_that_run_commands_prevent_an_automatic_choice(tmp_path: Path) -> None:
    project = project_with(tmp_path, 'RUNS = "$(touch ran)"\nNAMES = "$HOME/x"')
    plan = plan_direct(SETTINGS, project, generate(SETTINGS, project))
    assert isinstance(plan, DirectPlan)
    assert "RUNS in [activation.env] would run on this machine" in plan.doubts
    assert not any("NAMES" in doubt for doubt in plan.doubts)


@pytest.mark.parametrize(("value", "refused"), [('"insecure"', True), ('"false"', False)])
def test_a_workspace_that_lets_post_link_scripts_run_is_left_to_apptainer(tmp_path: Path, value: str, refused: bool) -> None:
    project = project_with(tmp_path, settings=f"run-post-link-scripts = {value}\n")
    plan = plan_direct(SETTINGS, project, generate(SETTINGS, project))
    assert isinstance(plan, Refused) == refused
    if isinstance(plan, Refused):
        assert plan.reasons == (".pixi/config.toml lets post-link scripts run",)


@pytest.mark.usefixtures("pixi_home")
def test_a_package_with_another_checksum_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "channel/noarch/hpcdeploy-demo-runtime-1.2.0-0.tar.bz2").open("ab") as package:
        package.write(b"more")
    with pytest.raises(BuildError, match="cannot be installed"):
        build(EXAMPLE, tmp_path)


@pytest.mark.usefixtures("pixi_home")
def test_a_damaged_file_of_the_package_cache_is_not_installed(tmp_path: Path) -> None:
    first = contents(build(EXAMPLE, tmp_path))
    shutil.rmtree(tmp_path / "app")
    [cached] = (tmp_path / "downloads").rglob("share/hpcdeploy-demo/version.txt")
    cached.write_text("9.9.9\n")
    assert contents(build(EXAMPLE, tmp_path)) == first


def test_a_pixi_that_fails_is_one_message(standin: Path, tmp_path: Path) -> None:
    standin.write_text("#!/bin/sh\necho no such channel >&2\nexit 3\n")
    with pytest.raises(BuildError, match=r"ended with exit code 3:\nno such channel"):
        build(EXAMPLE, tmp_path)


@pytest.mark.usefixtures("pixi_home")
def test_an_activation_that_fails_is_one_message_and_leaves_no_folder(tmp_path: Path) -> None:
    project = Path(shutil.copytree(EXAMPLE, tmp_path / "project"))
    manifest = project / "pixi.toml"
    line = "[activation.env]"
    manifest.write_text(manifest.read_text().replace(line, f'{line}\nBROKEN = "${{undefined?is missing}}"', 1))
    with pytest.raises(BuildError, match="is missing"):
        build(project, tmp_path)
    assert not (tmp_path / "app/.hpcdeploy").exists()


@pytest.mark.usefixtures("pixi_home")
def test_a_script_of_the_workspace_runs_with_the_files_in_its_folder(tmp_path: Path) -> None:
    project = Path(shutil.copytree(EXAMPLE, tmp_path / "project"))
    (project / "scripts").mkdir()
    (project / "scripts/activate.sh").write_text('. "$PIXI_PROJECT_ROOT/scripts/more.sh"\nexport FROM_SCRIPT="$MORE here"\n')
    (project / "scripts/more.sh").write_text('MORE="$(hpcdeploy-demo | head -1),"\n')
    manifest = project / "pixi.toml"
    both = '[activation]\nscripts = ["scripts/activate.sh"]\n[activation.env]'
    manifest.write_text(manifest.read_text().replace("[activation.env]", both, 1))
    installed = build(project, tmp_path)
    assert 'export FROM_SCRIPT="hpcdeploy-demo 1.2.0, installed in /app/.pixi/envs/gpu, here"\n' in installed.variables
    plan = plan_direct(SETTINGS, project, generate(SETTINGS, project))
    assert isinstance(plan, DirectPlan)
    assert plan.doubts == ("the activation script scripts/activate.sh would run on this machine",)
    assert {path for _, path in plan.copies} >= {"app/scripts/activate.sh", "app/scripts/more.sh"}


def test_a_folder_that_is_too_long_is_refused(tmp_path: Path) -> None:
    workspace = Workspace(
        folder=tmp_path / ("x" * 100),
        manifest="pixi.toml",
        name="a",
        version="",
        environment="default",
        platform="",
        row="linux-64",
        platforms=("linux-64",),
        variables=(),
        scripts=(),
        activation=(),
        wheels=(),
    )
    with pytest.raises(BuildError, match="set XDG_CACHE_HOME to a shorter path"):
        install(workspace, tmp_path, "/bin")
    assert scripts_that_run(workspace.prefix) == ()


def test_a_post_link_script_is_found_by_the_record_of_its_package(tmp_path: Path) -> None:
    (tmp_path / "conda-meta").mkdir()
    (tmp_path / "conda-meta/a-1-0.json").write_text('{"name": "a", "files": ["bin/.a-post-link.sh"]}')
    (tmp_path / "conda-meta/b-1-0.json").write_text('{"name": "b", "files": ["bin/.a-post-link.sh"]}')
    assert post_link_scripts(tmp_path) == ("a",)


@pytest.mark.usefixtures("pixi_home")
def test_two_installations_at_two_times_under_two_umasks_give_the_same_entries(tmp_path: Path) -> None:
    results = []
    for name, umask in (("a", 0o077), ("b", 0o002)):
        old = os.umask(umask)
        try:
            (tmp_path / name).mkdir()
            installed = build(EXAMPLE, tmp_path / name)
        finally:
            os.umask(old)
        entries = [replace(entry, content=None) for layer in installed.layers for entry in layer.entries()]
        results.append((entries, contents(installed), installed.variables))
        time.sleep(1.1)
    assert results[0] == results[1]


WORKSPACE = f"""\
[workspace]
name = "with-wheel"
channels = ["{channel.URL}"]
platforms = ["linux-64"]
[dependencies]
python = "*"
[pypi-dependencies]
{wheel.NAME} = "*"
"""
PYTHON = channel.Package(
    name="python",
    version="3.13.1",
    files={"bin/python": channel.Member(content=b"#!/bin/sh\nexec /usr/bin/python3\n", executable=True)},
)


def test_wheels_of_the_lock_file_are_installed_beside_conda_s_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with served(tmp_path, (PYTHON,)) as home:
        monkeypatch.setenv("PIXI_HOME", str(home))
        [address] = tomli.loads((home / "config.toml").read_text())["mirrors"][channel.URL]
        (tmp_path / "channel" / wheel.FILE).write_bytes(wheel.build())
        sums = channel.checksums(channel.build(PYTHON))
        entry = f"conda: {channel.URL}/{channel.SUBDIR}/{PYTHON.file_name}"
        pypi = f"pypi: {address}/{wheel.FILE}"
        project = tmp_path / "project"
        project.mkdir()
        (project / "pixi.toml").write_text(WORKSPACE)
        (project / "pixi.lock").write_text(
            f"version: 6\nenvironments:\n  default:\n    channels:\n    - url: {channel.URL}/\n    packages:\n"
            f"      linux-64:\n      - {entry}\n      - {pypi}\npackages:\n"
            f"- {entry}\n  sha256: {sums['sha256']}\n  md5: {sums['md5']}\n"
            f"- {pypi}\n  name: {wheel.NAME}\n  version: {wheel.VERSION}\n"
            f"  sha256: {hashlib.sha256(wheel.build()).hexdigest()}\n"
        )
        settings = ImageSettings(name="wheel", source=PixiSource())
        installed = build(project, tmp_path, settings, chosen=False)
    found = contents(installed)
    site = "app/.pixi/envs/default/lib/python3.13/site-packages"
    [info] = {os.path.dirname(path) for path in found if path.endswith("/METADATA")}  # noqa: PTH120 - a path of the image
    assert info.startswith(site)
    assert found[f"{info}/INSTALLER"] == b"hpcdeploy"
    [script] = [path for path in found if path.startswith("app/.pixi/envs/default/bin/") and not path.endswith("/python")]
    assert found[script].startswith(b"#!/app/.pixi/envs/default/bin/python\n")
    digest = base64.urlsafe_b64encode(hashlib.sha256(found[script]).digest()).rstrip(b"=").decode()
    assert f"sha256={digest},{len(found[script])}" in found[f"{info}/RECORD"].decode()
    assert [path for path, content in found.items() if os.fsencode(tmp_path) in content] == []
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/pixi").write_text("#!/bin/sh\n")
    (tmp_path / "bin/pixi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    with pytest.raises(MissingProgramError, match="pixi would run the environment's Python on this machine"):
        choose_builder(settings, project, generate(settings, project), wanted=None, downloads=tmp_path)
