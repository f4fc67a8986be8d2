"""Activation scripts that source a neighbour: what comes along into the build, and what is refused or told."""

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.definition.grammar import read_definition
from hpcdeploy.errors import DefinitionError, EnvironmentFileError
from hpcdeploy.flows.generate import dockerfile_of, generate
from hpcdeploy.flows.sources.activation import MOST
from hpcdeploy.image import Definition, FileCopy, ImageSettings
from hpcdeploy.source import PixiSource
from tests.builds.test_pixi_source import MANIFEST, copies, lock, write

SETTINGS = ImageSettings(name="ros", source=PixiSource())
SCRIPTS = {
    "scripts/setup.sh": ". /app/scripts/lib/common.sh\n",
    "scripts/lib/common.sh": "export COMMON=${SITE:-x}\n",
    "scripts/tool": "#!/bin/sh\n",
    "train.py": "pass\n",
}


def workspace(folder: Path, *scripts: str, track: bool = True, files: Mapping[str, str] | None = None) -> Path:
    manifest = f"{MANIFEST}[activation]\nscripts = {list(scripts)}\n"
    write(folder, {"pixi.toml": manifest, "pixi.lock": lock(), **SCRIPTS, **(files or {})})
    (folder / "scripts/tool").chmod(0o755)
    if track:
        subprocess.run(["git", "init", "-q", folder], check=True)
        subprocess.run(["git", "-C", folder, "add", "-A"], check=True)
    return folder


def beside(definition: Definition) -> list[str]:
    return sorted(file.staged for file in definition.files if file.staged.startswith("beside/"))


def needing(*files: str) -> ImageSettings:
    return replace(SETTINGS, source=PixiSource(files=files))


@pytest.mark.parametrize("track", [True, False], ids=["git", "no git"])
def test_the_files_of_a_script_s_folder_come_along_into_both_stages(tmp_path: Path, track: bool) -> None:
    definition = generate(SETTINGS, workspace(tmp_path, "scripts/setup.sh", track=track))
    assert beside(definition) == ["beside/app/scripts/lib/common.sh", "beside/app/scripts/tool"]
    assert [file.mode for file in definition.files if file.staged == "beside/app/scripts/tool"] == [0o755]
    for stage in read_definition(definition.text):
        assert ("beside/app", "/") in copies(stage)
    assert definition.notes == ()
    assert " SITE " in definition.text  # what the neighbour looks at is varied


def test_what_git_does_not_track_stays_out_and_is_told(tmp_path: Path) -> None:
    folder = workspace(tmp_path, "scripts/setup.sh", files={".gitignore": "ignored*\n"})
    write(folder, {"scripts/ignored.sh": "", "scripts/new.sh": "", "scripts/.env": "TOKEN=1", "elsewhere.sh": ""})
    definition = generate(SETTINGS, folder)
    assert "beside/app/scripts/new.sh" not in beside(definition)
    [note] = definition.notes
    assert note.startswith("scripts/new.sh, scripts/ignored.sh: in the folder of an activation script, but not tracked")


@pytest.mark.parametrize("added", [True, False], ids=["script added with -f", "nothing tracked"])
def test_what_git_ignores_beside_a_script_is_told(tmp_path: Path, added: bool) -> None:
    """colcon's workspaces ignore install/, whose setup.sh sources what lies beside it."""
    ignored = {".gitignore": "install/\n", "install/setup.sh": ". install/_local.sh\n", "install/_local.sh": ""}
    folder = workspace(tmp_path, "install/setup.sh", files={**ignored, "install/mine/package.sh": ""})
    if added:
        subprocess.run(["git", "-C", folder, "add", "-f", "install/setup.sh"], check=True)
    [note] = generate(SETTINGS, folder).notes
    assert note.startswith("install/_local.sh, install/mine/: in the folder" if added else "install/: in the folder")
    assert "git add -f" in note
    assert generate(needing("install"), folder).notes == ()


@pytest.mark.parametrize("ignored", ["", "install/\n"], ids=["untracked", "ignored"])
def test_a_named_folder_without_tracked_files_is_told(tmp_path: Path, ignored: str) -> None:
    folder = workspace(tmp_path, "top.sh", files={".gitignore": ignored, "top.sh": ". install/setup.sh\n"})
    write(folder, {"install/setup.sh": "", "other/setup.sh": ""})
    [note] = generate(SETTINGS, folder).notes
    assert note.startswith("install/: in the folder of an activation script")


def test_a_neighbour_s_change_is_another_image_and_other_code_s_is_none(tmp_path: Path) -> None:
    folder = workspace(tmp_path, "scripts/setup.sh")
    before = generate(SETTINGS, folder).inputs
    (folder / "train.py").write_text("print()\n")
    assert generate(SETTINGS, folder).inputs == before
    (folder / "scripts/lib/common.sh").write_text("export COMMON=y\n")
    assert generate(SETTINGS, folder).inputs != before


def test_of_a_script_in_the_workspace_s_folder_come_the_files_there_and_the_folders_that_it_names(tmp_path: Path) -> None:
    files = {
        "activate.sh": ". ./env.sh; . scripts/setup.sh\n",
        "env.sh": "",
        "src/code.py": "",
        "hpcdeploy.toml": "",
        "README.md": "src/",
    }
    definition = generate(SETTINGS, workspace(tmp_path, "activate.sh", files=files))
    assert beside(definition) == [
        "beside/app/README.md",
        "beside/app/env.sh",
        "beside/app/scripts/lib/common.sh",
        "beside/app/scripts/setup.sh",
        "beside/app/scripts/tool",
        "beside/app/train.py",
    ]


def test_more_than_ten_megabytes_are_refused_with_the_key_that_ships_them(tmp_path: Path) -> None:
    folder = workspace(tmp_path, "scripts/setup.sh", track=False)
    (folder / "scripts/model.bin").write_bytes(bytes(MOST))
    (folder / "pixi.lock.big").write_bytes(bytes(MOST))
    workspace(folder, "scripts/setup.sh")
    with pytest.raises(
        DefinitionError,
        match=r"scripts/setup\.sh: .* 10\.0 MB, above the maximum of 10 MB.*model\.bin \(10\.0 MB\).*'pixi\.files'",
    ):
        generate(SETTINGS, folder)
    with pytest.raises(DefinitionError, match=r"'pixi\.files'"):
        dockerfile_of(SETTINGS, folder)
    named = generate(needing("scripts/lib", "scripts/model.bin"), folder)
    assert beside(named) == []
    assert {file.staged for file in named.files if file.staged.startswith("more/")} == {
        "more/app/scripts/lib/common.sh",
        "more/app/scripts/model.bin",
    }
    assert generate(needing(), folder).notes == ()


def test_named_files_go_into_the_build_stage_alone(tmp_path: Path) -> None:
    folder = workspace(tmp_path, "scripts/setup.sh", track=False, files={"install/setup.bash": "export A=${ROBOT:-1}\n"})
    definition = generate(needing("install", "."), folder)
    build, final = read_definition(definition.text)
    assert ("more/app", "/") in copies(build)
    assert [pair for pair in copies(final) if "more" in pair[0]] == []
    assert "more/app/install/setup.bash" in {file.staged for file in definition.files}
    assert " ROBOT " in definition.text


def test_a_named_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"'pixi\.files' names .*gone.*which is not in"):
        generate(needing("gone"), workspace(tmp_path, "scripts/setup.sh"))


@pytest.mark.parametrize("script", ["../act.sh", "/etc/act.sh", "scripts/../../act.sh"])
def test_a_script_outside_the_workspace_is_refused_with_file_and_key(tmp_path: Path, script: str) -> None:
    folder = workspace(tmp_path / "project", script)
    write(tmp_path, {"act.sh": ""})
    with pytest.raises(EnvironmentFileError, match=rf"pixi\.toml: activation\.scripts names '{script}', but"):
        generate(SETTINGS, folder)


def test_a_tracked_link_out_of_the_project_stays_out(tmp_path: Path) -> None:
    folder = workspace(tmp_path / "project", "scripts/setup.sh", track=False)
    write(tmp_path, {"secret.sh": ""})
    (folder / "scripts/link.sh").symlink_to(tmp_path / "secret.sh")
    assert "beside/app/scripts/link.sh" not in beside(generate(SETTINGS, workspace(folder, "scripts/setup.sh")))


def test_a_dockerfile_copies_them_into_both_stages_and_its_ignore_file_lets_them_through(tmp_path: Path) -> None:
    folder = tmp_path / "work space"
    workspace(folder, "scripts/setup.sh", "top.sh", files={"top.sh": "", "my env.sh": "", "it's.sh": ""})
    settings = replace(SETTINGS, source=PixiSource(workspace="work space"), files=(FileCopy(source="a", destination="/a"),))
    with pytest.raises(DefinitionError, match="'files' names 'a', which is not in"):
        dockerfile_of(settings, tmp_path)
    text = dockerfile_of(settings, write(tmp_path, {"a": ""}))
    assert '\nCOPY ["work space/scripts", "/app/scripts"]\n' in text.dockerfile
    assert '\nCOPY ["work space/it\\\\\'s.sh", "work space/my env.sh", "work space/train.py", "/app/"]\n' in text.dockerfile
    assert "\nCOPY --from=build /app/scripts /app/scripts\n" in text.dockerfile
    assert '\nCOPY --from=build ["/app/it\\\\\'s.sh", "/app/my env.sh", "/app/train.py", "/app/"]\n' in text.dockerfile
    assert "!work space/scripts/lib/common.sh\n" in text.ignore
    named = dockerfile_of(replace(needing("scripts/lib"), name="x"), folder)
    assert "\nCOPY scripts/lib /app/scripts/lib\n" in named.dockerfile
    assert "\nCOPY --from=build /app/scripts/lib /app/scripts/lib\n" in named.dockerfile
    assert "\n!scripts/lib\n" in named.ignore


def test_a_value_that_a_container_cannot_evaluate_is_told_when_the_image_is_generated(tmp_path: Path) -> None:
    manifest = f'{MANIFEST}[activation.env]\nCORES = "$(nproc)"\nCACHE = "$SCRATCH/cache"\n'
    definition = generate(SETTINGS, write(tmp_path, {"pixi.toml": manifest, "pixi.lock": lock()}))
    [note] = definition.notes
    assert note.startswith("activation.env: CORES cannot be evaluated when a container starts")
    assert "starts CACHE" in definition.text
