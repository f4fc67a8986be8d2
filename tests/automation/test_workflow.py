"""The workflow as text: the golden files, GitHub's own schema, and what must hold whatever a project holds."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from hpcdeploy import __version__
from hpcdeploy.errors import ConfigError
from hpcdeploy.flows.workflow import Workflow, render_workflow, secret_prefix
from hpcdeploy.image import Secret
from tests.automation.samples import MANY, ODD, ONE, SUBFOLDER, WORKFLOWS, image
from tests.golden import check_golden
from tests.shellcheck import findings

GOLDEN = Path(__file__).parent / "golden"
CHECK = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
PULL_REQUEST = "github.event_name == 'pull_request'"

every_workflow = pytest.mark.parametrize("name", WORKFLOWS)


def read(workflow: Workflow) -> dict[str, Any]:
    # "on" is a truth value to YAML 1.1, a word to GitHub.
    read: dict[Any, Any] = yaml.safe_load(render_workflow(workflow))
    return {"on" if key is True else key: value for key, value in read.items()}


def steps(job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from job["steps"]


def step(job: dict[str, Any], name: str) -> dict[str, Any]:
    return next(step for step in steps(job) if step["name"] == name)


@every_workflow
def test_the_workflow_is_the_golden_one(name: str) -> None:
    golden = GOLDEN / f"{name}.yaml"
    text = render_workflow(WORKFLOWS[name]).replace(f"({__version__})", "(VERSION)")
    check_golden(golden, text)


@every_workflow
def test_github_would_take_it(name: str) -> None:
    done = subprocess.run([*CHECK, GOLDEN / f"{name}.yaml"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_image_for_arm64_is_built_on_a_machine_for_arm64() -> None:
    jobs = read(WORKFLOWS["platforms"])["jobs"]
    for job in (jobs["test"], jobs["publish"]):
        assert job["runs-on"] == "${{ matrix.runner }}"
        runners = {entry["image"]: entry["runner"] for entry in job["strategy"]["matrix"]["include"]}
        assert runners == {"train": "ubuntu-latest", "train-arm64": "ubuntu-24.04-arm", "plain": "ubuntu-latest"}
        assert step(job, "Set up Apptainer")["if"] == "runner.arch == 'X64'"
        assert step(job, "Set up Apptainer for arm64")["if"] == "runner.arch == 'ARM64'"


def test_what_github_would_not_take_is_noticed(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text((GOLDEN / "one.yaml").read_text().replace("runs-on:", "run-on:"))
    assert subprocess.run([*CHECK, wrong], capture_output=True, check=False).returncode == 1


@every_workflow
def test_a_pull_request_gets_no_secret_no_right_to_write_and_publishes_nothing(name: str) -> None:
    jobs = read(WORKFLOWS[name])["jobs"]
    assert set(jobs) == {"test", "publish"}
    assert jobs["test"]["if"] == PULL_REQUEST
    assert jobs["publish"]["if"] == "github.event_name != 'pull_request'"
    assert jobs["test"]["permissions"] == {"contents": "read"}
    said = str(jobs["test"])
    assert "secrets." not in said
    assert "hpcdeploy push" not in said
    assert "login-action" not in said
    assert [entry["image"] for entry in jobs["test"]["strategy"]["matrix"]["include"]] == [
        one.name for one in WORKFLOWS[name].images
    ]


@every_workflow
def test_rights_are_the_least(name: str) -> None:
    workflow = read(WORKFLOWS[name])
    assert workflow["permissions"] == {}
    on_github = any(place.startswith("ghcr.io/") for one in WORKFLOWS[name].images for place in one.repositories)
    expected = {"contents": "read"} | ({"packages": "write"} if on_github else {})
    assert workflow["jobs"]["publish"]["permissions"] == expected
    for job in workflow["jobs"].values():
        assert step(job, "Check out")["with"]["persist-credentials"] is False


@every_workflow
def test_no_expression_stands_in_a_shell_and_every_action_is_pinned(name: str) -> None:
    for job in read(WORKFLOWS[name])["jobs"].values():
        for one in steps(job):
            assert "${{" not in one.get("run", "")
            assert "uses" not in one or re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", one["uses"])


@every_workflow
def test_secrets_are_read_by_the_steps_that_need_them_alone(name: str) -> None:
    for one in steps(read(WORKFLOWS[name])["jobs"]["publish"]):
        if "secrets." in str(one):
            assert one["name"] == "Build and test" or one["uses"].startswith("docker/login-action@")
    order = [one["name"] for one in steps(read(WORKFLOWS[name])["jobs"]["publish"])]
    logins = [number for number, one in enumerate(order) if one.startswith("Log in to ")]
    assert order.index("Build and test") < min(logins) <= max(logins) < order.index("Publish")


@every_workflow
def test_it_runs_for_changes_of_the_images_on_the_branch_for_versions_and_when_asked(name: str) -> None:
    sample, on = WORKFLOWS[name], read(WORKFLOWS[name])["on"]
    assert set(on) == {"push", "pull_request", "workflow_dispatch"}
    assert on["push"]["branches"] == [sample.branch.replace("+", r"\+")]
    assert on["push"]["paths"] == on["pull_request"]["paths"] == list(sample.paths)
    concurrency = read(sample)["concurrency"]
    assert concurrency == {"group": "${{ github.workflow }}-${{ github.ref }}", "cancel-in-progress": True}


@pytest.mark.parametrize(
    ("tag", "runs"),
    [("v1.2.3", True), ("1.2.3", True), ("v2026.2.0", True), ("v1.2.3-rc.1", True), ("vision", False), ("v1", False)],
)
def test_version_tags_are_published(tag: str, runs: bool) -> None:
    # GitHub's patterns: '*' is anything but '/', '+' one or more of what is before, '.' a dot.
    patterns = (re.escape(one).replace(r"\[0\-9\]\+", "[0-9]+").replace(r"\*", "[^/]*") for one in tags_of(ONE))
    assert any(re.fullmatch(pattern, tag) for pattern in patterns) is runs


def tags_of(workflow: Workflow) -> list[str]:
    tags: list[str] = read(workflow)["on"]["push"]["tags"]
    return tags


def test_each_image_goes_through_a_leg_of_its_own_and_its_registries_are_logged_in_to() -> None:
    job = read(MANY)["jobs"]["publish"]
    assert job["strategy"]["fail-fast"] is False
    legs = {leg["image"]: leg["registries"] for leg in job["strategy"]["matrix"]["include"]}
    assert legs == {
        "ml_platform": ["ghcr.io", "docker.io", "hub.opensciencegrid.org"],
        "spack": ["ghcr.io"],
        "private": ["registry.example.org:5000"],
    }
    for host, user in (
        ("ghcr.io", "${{ github.actor }}"),
        ("docker.io", "${{ secrets.DOCKER_USERNAME }}"),
        ("hub.opensciencegrid.org", "${{ secrets.HUB_OPENSCIENCEGRID_ORG_USERNAME }}"),
        ("registry.example.org:5000", "${{ secrets.REGISTRY_EXAMPLE_ORG_5000_USERNAME }}"),
    ):
        login = step(job, f"Log in to {host}")
        assert login["if"] == f"contains(matrix.registries, '{host}')"
        assert (login["with"]["registry"], login["with"]["username"]) == (host, user)
    assert step(job, "Log in to ghcr.io")["with"]["password"] == "${{ secrets.GITHUB_TOKEN }}"


def test_an_image_gets_its_own_secrets_and_files_come_as_variables() -> None:
    workflow = read(MANY)
    assert step(workflow["jobs"]["publish"], "Build and test")["env"] == {
        "IMAGE": "${{ matrix.image }}",
        "BUILD_OPTIONS": "${{ matrix.options }}",
        "OCI_USER": "${{ contains(fromJSON('[\"spack\", \"private\"]'), matrix.image) && secrets.OCI_USER || '' }}",
        "CACHE_KEY": "${{ contains(fromJSON('[\"spack\"]'), matrix.image) && secrets.CACHE_KEY || '' }}",
        "GITHUB_PRIVATE": "${{ contains(fromJSON('[\"spack\"]'), matrix.image) && secrets.BUILD_GITHUB_PRIVATE || '' }}",
    }
    legs = workflow["jobs"]["publish"]["strategy"]["matrix"]["include"]
    assert [leg["options"] for leg in legs] == ["", "--secret id=CACHE_KEY,env=CACHE_KEY", ""]
    tested = {leg["image"]: leg["secret"] for leg in workflow["jobs"]["test"]["strategy"]["matrix"]["include"]}
    assert tested == {"ml_platform": False, "spack": True, "private": True, "local-only": False}
    for name in ("DOCKER_USERNAME", "HUB_OPENSCIENCEGRID_ORG_PASSWORD", "OCI_USER", "CACHE_KEY", "BUILD_GITHUB_PRIVATE"):
        assert f"#   {name}: " in render_workflow(MANY)


def test_a_project_in_a_subfolder_is_worked_on_there() -> None:
    for job in read(SUBFOLDER)["jobs"].values():
        assert job["defaults"]["run"]["working-directory"] == "cuda-exercise"
    assert "defaults" not in read(ONE)["jobs"]["test"]


def test_odd_words_are_words() -> None:
    workflow = read(ODD)
    assert [leg["image"] for leg in workflow["jobs"]["test"]["strategy"]["matrix"]["include"]] == ["on", "1.0", "-x", "null"]
    assert workflow["jobs"]["test"]["defaults"]["run"]["working-directory"] == ODD.subfolder
    [install] = [one["run"] for one in steps(workflow["jobs"]["test"]) if one["name"] == "Install hpcdeploy"]
    said = subprocess.run(
        ["bash", "-c", f"python() {{ printf '%s\\n' \"$@\"; }}; {install}"], capture_output=True, check=True
    )
    assert said.stdout.decode().splitlines() == ["-m", "pip", "install", ODD.install]


@every_workflow
def test_the_shell_of_every_step_passes_shellcheck(name: str) -> None:
    for job in read(WORKFLOWS[name])["jobs"].values():
        for one in steps(job):
            if "run" in one:
                assert findings(one["run"], "--shell=bash") == ""


@pytest.mark.parametrize(
    ("host", "prefix"),
    [
        ("docker.io", "DOCKER"),
        ("hub.opensciencegrid.org", "HUB_OPENSCIENCEGRID_ORG"),
        ("127.0.0.1:5000", "REGISTRY_127_0_0_1_5000"),
        ("github.example.org", "REGISTRY_GITHUB_EXAMPLE_ORG"),
        ("github-mirror.example.org", "REGISTRY_GITHUB_MIRROR_EXAMPLE_ORG"),
    ],
)
def test_names_of_secrets_are_such_as_github_takes(host: str, prefix: str) -> None:
    assert secret_prefix(host) == prefix


@pytest.mark.parametrize(
    ("workflow", "said"),
    [
        (replace(ONE, images=[image("x")]), "no image has a repository"),
        (replace(ONE, subfolder="a ${{ secrets.X }}"), "which cannot be written in a workflow"),
        (replace(ONE, branch="a\nb"), "which cannot be written in a workflow"),
        (replace(ONE, install="x\ny"), "which cannot be written in a workflow"),
        (replace(ONE, images=[image("x", "ghcr.io/a", secrets=(Secret(name="a", env="IMAGE"),))]), "use another variable"),
    ],
)
def test_what_github_would_read_otherwise_is_refused(workflow: Workflow, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        render_workflow(workflow)


def test_a_projects_own_template_wins(tmp_path: Path) -> None:
    (tmp_path / "workflow_templates").mkdir()
    (tmp_path / "workflow_templates" / "images.yaml").write_text("on: [= branch | text =]\n")
    assert render_workflow(ONE, overrides=tmp_path) == "on: 'main'\n"
