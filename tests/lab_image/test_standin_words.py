"""The stand-in says what it is, tells what is there, and refuses what only pixi can do."""

import json

import pytest

from tests.lab_image.conftest import Workspace

SAYS = "hpcdeploy lab stand-in for pixi, not pixi"


def test_the_version_says_what_it_is(workspace: Workspace) -> None:
    assert SAYS in workspace.pixi("--version").out


def test_info_says_what_it_is_and_what_the_machine_offers(workspace: Workspace) -> None:
    told = json.loads(workspace.pixi("info", "--json", environ={"CONDA_OVERRIDE_CUDA": "12.4"}).out)
    assert SAYS in told["version"]
    assert "__cuda=12.4=0" in told["virtual_packages"]
    assert told["project_info"]["name"] == "pixi-gpu"
    assert [item["name"] for item in told["environments_info"]] == ["default", "gpu"]
    text = workspace.pixi("info").out
    assert SAYS in text
    assert "cuda = 12" in text


def test_info_works_outside_a_workspace(workspace: Workspace) -> None:
    done = workspace.pixi("info", "--json", folder=workspace.home)
    assert done.code == 0
    assert json.loads(done.out)["project_info"] is None


def test_list_tells_what_is_locked(gpu: Workspace) -> None:
    told = json.loads(gpu.pixi("list", "-e", "gpu", "--json").out)
    assert [(item["name"], item["version"], item["is_explicit"]) for item in told] == [
        ("hpcdeploy-demo-activation", "1.0.0", False),
        ("hpcdeploy-demo-cuda", "12.9.0", True),
        ("hpcdeploy-demo-runtime", "1.2.0", True),
    ]
    assert told[2]["requested_spec"] == ">=1.2,<2"
    assert gpu.pixi("list", "-e", "gpu").out.splitlines()[0].split() == [
        "Name",
        "Version",
        "Build",
        "Size",
        "Kind",
        "Source",
    ]
    assert len(gpu.pixi("list", "-e", "gpu", "runtime$").out.splitlines()) == 2
    assert len(json.loads(gpu.pixi("list", "-e", "gpu", "--explicit", "--json").out)) == 2


def test_list_installs_nothing_where_it_is_told_not_to(workspace: Workspace) -> None:
    assert workspace.pixi("list", "--no-install").code == 0
    assert not workspace.prefix("default").exists()


@pytest.mark.parametrize("path", ["pixi.toml", "."])
def test_a_workspace_can_be_named_from_anywhere(gpu: Workspace, path: str) -> None:
    done = gpu.pixi("list", "-e", "gpu", "--manifest-path", str(gpu.root / path), folder=gpu.home)
    assert done.code == 0, done.err


def test_a_workspace_is_found_from_below(gpu: Workspace) -> None:
    assert gpu.pixi("list", "-e", "gpu", folder=gpu.root / "app").code == 0


def test_outside_a_workspace_the_folder_is_named(workspace: Workspace) -> None:
    done = workspace.pixi("install", "--locked", folder=workspace.home)
    assert done.code == 1
    assert str(workspace.home) in done.err


def test_an_unknown_environment_is_named_with_the_known_ones(workspace: Workspace) -> None:
    done = workspace.pixi("install", "--locked", "-e", "gpus")
    assert done.code == 1
    assert "unknown environment 'gpus'" in done.err
    assert "default, gpu" in done.err


@pytest.mark.parametrize(
    "words",
    [
        ("add", "numpy"),
        ("shell",),
        ("lock",),
        ("global", "install", "ripgrep"),
        ("install", "--locked", "--frozen"),
        ("install", "--revalidate"),
        ("shell-hook", "-s", "fish"),
        ("shell-hook", "-s", "bash", "--json", "--as-is"),
        ("list", "--fields", "name"),
        ("list", "--as-is"),
        ("run", "--clean-env", "true"),
        (),
    ],
    ids=" ".join,
)
def test_everything_else_is_refused_in_one_line(workspace: Workspace, words: tuple[str, ...]) -> None:
    done = workspace.pixi(*words)
    assert done.code == 2
    assert SAYS in done.err
    assert len(done.err.splitlines()) == 1
    assert done.out == ""


def test_a_task_with_a_template_is_refused_and_its_neighbours_are_not(workspace: Workspace) -> None:
    workspace.rewrite(
        "pixi.toml", "[tasks]\n", '[tasks]\nodd = { cmd = "echo {{ x }}", args = ["x"] }\nplain = "echo plain"\n'
    )
    done = workspace.pixi("run", "odd", "1")
    assert (done.code, done.out) == (2, "")
    assert "takes arguments or contains a template" in done.err
    assert workspace.pixi("run", "plain").out == "plain\n"


def test_a_manifest_that_is_no_toml_is_one_message(workspace: Workspace) -> None:
    (workspace.root / "pixi.toml").write_text("[workspace\n")
    done = workspace.pixi("install", "--locked")
    assert done.code == 1
    assert "failed to parse" in done.err
    assert "Traceback" not in done.err


def test_the_workspace_of_an_activated_shell_is_used_where_none_is_around(gpu: Workspace) -> None:
    activated = {"PIXI_PROJECT_MANIFEST": str(gpu.root / "pixi.toml"), "PIXI_ENVIRONMENT_NAME": "gpu"}
    done = gpu.pixi("list", "--json", environ=activated, folder=gpu.home)
    assert {item["name"] for item in json.loads(done.out)} >= {"hpcdeploy-demo-cuda"}
