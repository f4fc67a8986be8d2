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
from hpcdeploy.direct.activation import _package_variables
from hpcdeploy.direct.environment import Workspace, install, installer, post_link_scripts
from hpcdeploy.errors import BuildError
from hpcdeploy.flows.direct_base import DirectBuild
from hpcdeploy.flows.direct_environment import Installed, install_environment
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


def build(
    project: Path, folder: Path, settings: ImageSettings = SETTINGS, *, path: str = "/usr/local/bin:/usr/bin:/bin"
) -> Installed:
    definition = generate(settings, project)
    plan = plan_direct(settings, project, definition)
    assert isinstance(plan, DirectPlan), plan
    assert plan.pixi is not None
    direct = DirectBuild(plan=plan, downloads=folder / "downloads", is_chosen=True)
    base = OciConfig(env=(("PATH", path),))
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


def project_with(tmp_path: Path, manifest: str = "", settings: str = "") -> Path:
    project = tmp_path / "project"
    shutil.copytree(EXAMPLE, project)
    text = (project / "pixi.toml").read_text()
    (project / "pixi.toml").write_text(text.replace("\n[activation.env]\n", f"\n[activation.env]\n{manifest}\n"))
    if settings:
        (project / ".pixi").mkdir(exist_ok=True)
        (project / ".pixi/config.toml").write_text(settings)
    return project


def test_an_environment_is_activated_on_this_machine_only_if_the_user_chose_this_builder(tmp_path: Path) -> None:
    definition = generate(SETTINGS, EXAMPLE)
    plan = plan_direct(SETTINGS, EXAMPLE, definition)
    assert isinstance(plan, DirectPlan)
    assert plan.doubts == ("the activation of its environment would run on this machine instead of in the image",)


@pytest.mark.parametrize("name", ["A=1; touch ran; B", "A$(touch ran)", "A B", "1A", ""])
def test_a_variable_with_an_invalid_name_is_refused(tmp_path: Path, name: str) -> None:
    project = project_with(tmp_path, f'"{name}" = "x"')
    plan = plan_direct(SETTINGS, project, generate(SETTINGS, project))
    assert isinstance(plan, Refused)
    assert plan.reasons == (f"[activation.env] has the name {name!r}",)


@pytest.mark.usefixtures("pixi_home")
@pytest.mark.parametrize(
    "path", ["$(touch ran):/usr/bin", "bin:/usr/bin", "/a b:/usr/bin", "/usr/bin:", '/x";id;"', "`id`", ""]
)
def test_a_path_of_the_base_image_that_a_shell_would_change_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(BuildError, match="the base image sets PATH to "):
        build(EXAMPLE, tmp_path, path=path)


def no_package(folder: Path) -> None:
    (folder / "etc/conda/env_vars.d").mkdir(parents=True)
    (folder / "conda-meta").mkdir()


@pytest.mark.parametrize("content", ["[1]", "{", '{"A": 1}', '{"A": ["x"]}', "\xff"])
def test_variables_of_a_package_that_are_malformed_are_one_message(tmp_path: Path, content: str) -> None:
    no_package(tmp_path)
    (tmp_path / "etc/conda/env_vars.d/x.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(BuildError, match=r"x\.json .*install another build of the package"):
        _package_variables(tmp_path)


def test_a_package_cannot_name_a_file_of_this_machine(tmp_path: Path) -> None:
    prefix, secret = tmp_path / "prefix", tmp_path / "config.json"
    secret.write_text('{"auths": "secret"}')
    no_package(prefix)
    (prefix / "etc/conda/env_vars.d/x.json").symlink_to("../../../../config.json")
    with pytest.raises(BuildError, match="is a link out of the environment"):
        _package_variables(prefix)
    (prefix / "etc/conda/env_vars.d/x.json").unlink()
    (prefix / "conda-meta/state").symlink_to(secret)
    with pytest.raises(BuildError, match="is a link out of the environment"):
        _package_variables(prefix)
    (prefix / "conda-meta/p.json").symlink_to(secret)
    with pytest.raises(BuildError, match="is a link out of the environment"):
        post_link_scripts(prefix)


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
        installed = build(project, tmp_path, settings)
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
