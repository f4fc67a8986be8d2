"""``shell-hook`` and ``run`` activate an environment: pixi's variables, the packages' scripts, the manifest's variables."""

import json
import os
import subprocess

from tests.lab_image.conftest import Workspace


def _variables(workspace: Workspace, *flags: str) -> dict[str, str]:
    done = workspace.pixi("shell-hook", "-e", "gpu", "--json", *flags)
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert list(told) == ["environment_variables"]
    return dict(told["environment_variables"])


def test_the_json_holds_what_activation_sets(gpu: Workspace) -> None:
    found = _variables(gpu)
    prefix = str(gpu.prefix("gpu"))
    assert found.pop("PATH") == f"{prefix}/bin:{os.defpath}"
    assert found.pop("PIXI_EXE")
    assert found == {
        "CONDA_PREFIX": prefix,
        "CONDA_SHLVL": "1",
        "CONDA_DEFAULT_ENV": "pixi-gpu:gpu",
        "PIXI_PROJECT_ROOT": str(gpu.root),
        "PIXI_PROJECT_NAME": "pixi-gpu",
        "PIXI_PROJECT_MANIFEST": str(gpu.root / "pixi.toml"),
        "PIXI_PROJECT_VERSION": "0.1.0",
        "PIXI_IN_SHELL": "1",
        "PIXI_ENVIRONMENT_NAME": "gpu",
        "PIXI_ENVIRONMENT_PLATFORMS": "linux-64",
        "PIXI_PROMPT": "(pixi-gpu:gpu) ",
        "DEMO_ACTIVATED": "hpcdeploy-demo-activation 1.0.0",
        "DEMO_PREFIX": prefix,
        "DEMO_GREETING": "hello from [activation.env]",
    }


def test_the_script_sets_what_the_json_says(gpu: Workspace) -> None:
    script = gpu.pixi("shell-hook", "--environment", "gpu", "-s", "bash").out
    shown = subprocess.run(
        ["bash", "--noprofile", "--norc", "-euc", f"{script}\nexec env -0"],
        env={"PATH": os.defpath, "HOME": str(gpu.home)},
        capture_output=True,
        text=True,
        check=True,
    )
    after = dict(item.split("=", 1) for item in shown.stdout.split("\0") if item)
    assert _variables(gpu).items() <= after.items()
    assert after["PS1"] == "(pixi-gpu:gpu) "


def test_the_prompt_can_be_left_alone(gpu: Workspace) -> None:
    assert "PS1" not in gpu.pixi("shell-hook", "-e", "gpu", "--change-ps1", "false").out


def test_as_is_needs_neither_driver_nor_channel_nor_fitting_lock_file(gpu: Workspace) -> None:
    del gpu.environ["CONDA_OVERRIDE_CUDA"]
    gpu.rewrite("pixi.toml", '">=1.2,<2"', '">=2"')
    (gpu.channel / "noarch").rename(gpu.channel / "gone")
    assert _variables(gpu, "--as-is")["PIXI_ENVIRONMENT_NAME"] == "gpu"
    done = gpu.pixi("run", "-e", "gpu", "--as-is", "hpcdeploy-demo")
    assert done.out.splitlines()[0] == f"hpcdeploy-demo 1.2.0, installed in {gpu.prefix('gpu')}"


def test_without_as_is_the_driver_is_asked_for_again(gpu: Workspace) -> None:
    del gpu.environ["CONDA_OVERRIDE_CUDA"]
    for verb in (("shell-hook",), ("list",), ("run", "true")):
        assert gpu.pixi(verb[0], "-e", "gpu", *verb[1:]).code == 1


def test_what_is_not_installed_cannot_be_activated_as_it_is(workspace: Workspace) -> None:
    done = workspace.pixi("shell-hook", "--as-is")
    assert done.code == 1
    assert "not installed" in done.err


def test_the_manifests_variables_may_name_others_and_hold_anything(workspace: Workspace) -> None:
    workspace.rewrite(
        "pixi.toml",
        "[tasks]",
        """WHERE = "$CONDA_PREFIX/data"
ODD = '''a "quoted" `word` \\ and 'more' '''
[target.linux-64.activation.env]
ONLY = "linux"
[feature.gpu.activation.env]
DEMO_GREETING = "the feature wins"
[tasks]""",
    )
    assert workspace.pixi("install", "--all", "--locked", environ={"CONDA_OVERRIDE_CUDA": "12"}).code == 0
    workspace.environ["CONDA_OVERRIDE_CUDA"] = "12"
    found = _variables(workspace)
    assert found["WHERE"] == f"{workspace.prefix('gpu')}/data"
    assert found["ODD"] == """a "quoted" `word` \\ and 'more' """
    assert found["ONLY"] == "linux"
    assert found["DEMO_GREETING"] == "the feature wins"


def test_the_manifests_scripts_run_and_noise_stays_out_of_the_json(workspace: Workspace) -> None:
    workspace.rewrite("pixi.toml", "[activation.env]\n", '[activation]\nscripts = ["on.sh", "gone.sh"]\n[activation.env]\n')
    (workspace.root / "on.sh").write_text("echo noise\nexport FROM_SCRIPT=yes\n")
    done = workspace.pixi("shell-hook", "--json")
    assert json.loads(done.out)["environment_variables"]["FROM_SCRIPT"] == "yes"
    assert "noise" in done.err
    assert "gone.sh" in done.err


def test_a_failing_activation_is_an_error(workspace: Workspace) -> None:
    workspace.rewrite("pixi.toml", "[activation.env]\n", '[activation]\nscripts = ["on.sh"]\n[activation.env]\n')
    (workspace.root / "on.sh").write_text("exit 5\n")
    done = workspace.pixi("shell-hook", "--json")
    assert done.code == 1
    assert "exit code 5" in done.err


def test_run_starts_a_task_with_its_words(gpu: Workspace) -> None:
    done = gpu.pixi("run", "-e", "gpu", "report", "a  b", "$HOME", "", folder=gpu.root / "app")
    assert done.code == 0, done.err
    assert done.out.splitlines()[-4:] == ["3 argument(s)", "  [a  b]", "  [$HOME]", "  []"]


def test_run_starts_a_command_with_its_words_and_passes_its_exit_code_on(gpu: Workspace) -> None:
    assert gpu.pixi("run", "-e", "gpu", "printf", "[%s]", "a b", "$HOME").out == "[a b][$HOME]"
    assert gpu.pixi("run", "-e", "gpu", "exit 7").code == 7
    assert gpu.pixi("run", "-e", "gpu", "kill -TERM $$").code == 143


def test_tasks_run_after_what_they_depend_on(workspace: Workspace) -> None:
    workspace.rewrite(
        "pixi.toml",
        "[tasks]\n",
        """[tasks]
first = "echo first"
second = { cmd = ["echo", "second", "$WORD"], depends-on = ["first"], env = { WORD = "word" } }
third = { depends-on = ["second", "first"] }
bad = { cmd = "false", depends-on = [] }
never = { cmd = "echo never", depends-on = ["bad"] }
round = { depends-on = ["round"] }
""",
    )
    assert workspace.pixi("run", "third").out == "first\nsecond word\n"
    assert workspace.pixi("run", "--skip-deps", "second").out == "second word\n"
    done = workspace.pixi("run", "never")
    assert (done.code, done.out) == (1, "")
    assert "depends on itself" in workspace.pixi("run", "round").err
