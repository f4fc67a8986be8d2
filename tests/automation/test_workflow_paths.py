"""Which files a workflow watches, and the command that writes it, in real repositories."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from hpcdeploy.config.files import load_project
from hpcdeploy.errors import ConfigError
from hpcdeploy.flows.sources.contract import no_registry
from hpcdeploy.flows.workflow import repository_root, requirement_of, watched_paths

COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))
EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "pixi-gpu"
OWN = ".github/workflows/images.yaml"


def git(folder: Path, *words: str) -> str:
    who = {f"GIT_{role}_{part}": "a@example.org" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    environment = {**os.environ, **who, "GIT_CONFIG_GLOBAL": "/dev/null"}
    return subprocess.run(["git", "-C", folder, *words], check=True, capture_output=True, text=True, env=environment).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with the example in a subfolder, on a branch that is not called main."""
    folder = tmp_path / "repository"
    shutil.copytree(EXAMPLE, folder / "cuda-exercise", ignore=shutil.ignore_patterns("*.sif"))
    git(folder, "init", "-b", "trunk")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "First")
    git(tmp_path, "clone", "-q", str(folder), "clone")
    return tmp_path / "clone"


def watched(root: Path) -> tuple[str, ...]:
    return watched_paths(load_project(root), OWN, image_config=lambda reference, _architecture: no_registry(reference))


def test_a_pixi_image_depends_on_its_manifest_lock_code_and_settings(repository: Path) -> None:
    assert watched(repository / "cuda-exercise") == (
        OWN,
        "cuda-exercise/app/**",
        "cuda-exercise/hpcdeploy.toml",
        "cuda-exercise/pixi.lock",
        "cuda-exercise/pixi.toml",
    )


def test_own_templates_and_several_images_count(repository: Path) -> None:
    root = repository / "cuda-exercise"
    (root / "defs").mkdir()
    (root / "ml" / "src").mkdir(parents=True)
    for name in ("pixi.toml", "pixi.lock"):
        shutil.copy(root / name, root / "ml" / name)
    (root / "ml" / "[1] *.py").write_text("")
    (root / "Dockerfile").write_text("FROM x\n")
    (root / "data" / "tables").mkdir(parents=True)
    (root / "data" / "tables" / "one.csv").write_text("")
    (root / "spack" / "conf").mkdir(parents=True)
    (root / "spack" / "spack.yaml").write_text("spack:\n  specs: [zlib]\n  include: [conf/packages.yaml]\n")
    (root / "spack" / "conf" / "packages.yaml").write_text("packages: {}\n")
    (root / "repo" / "packages" / "mine").mkdir(parents=True)
    (root / "repo" / "repo.yaml").write_text("repo:\n  namespace: mine\n")
    (root / "repo" / "packages" / "mine" / "package.py").write_text("")
    (root / "notes.txt").write_text("")
    (root / "hand.def").write_text(
        "Bootstrap: docker\nFrom: docker.io/library/debian:12\n\n%files\n    data/tables /tables\n    notes.txt /notes.txt\n"
    )
    (root / "base.tar").write_bytes(b"")
    (root / "hpcdeploy.toml").write_text(
        """
        [images.ml]
        pixi = { workspace = "ml", environment = "gpu" }
        files = { "ml/[1] *.py" = "/a.py", "ml/src" = "/src" }
        [images.docker]
        dockerfile = { file = "Dockerfile", context = "app" }
        [images.archive]
        oci = "docker-archive:base.tar"
        [images.spack]
        spack = { environment = "spack", repos = ["repo"] }
        [images.hand]
        definition = "hand.def"
        """
    )
    (root / "ml" / "src" / "a").write_text("")
    assert watched(root) == (
        OWN,
        "cuda-exercise/Dockerfile",
        "cuda-exercise/app/**",
        "cuda-exercise/base.tar",
        "cuda-exercise/data/tables/**",
        "cuda-exercise/defs/**",
        "cuda-exercise/hand.def",
        "cuda-exercise/hpcdeploy.toml",
        r"cuda-exercise/ml/\[1\] \*.py",
        "cuda-exercise/ml/pixi.lock",
        "cuda-exercise/ml/pixi.toml",
        "cuda-exercise/ml/src/**",
        "cuda-exercise/notes.txt",
        "cuda-exercise/repo/**",
        "cuda-exercise/spack/conf/**",
        "cuda-exercise/spack/spack.lock",
        "cuda-exercise/spack/spack.yaml",
    )


def test_a_folder_that_is_watched_whole_covers_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "Dockerfile").write_text("FROM x\n")
    settings = tmp_path / "hpcdeploy.toml"
    settings.write_text('[image]\ndockerfile = { file = "app/Dockerfile", context = "app" }\n')
    assert watched(tmp_path) == (OWN, "app/**", "hpcdeploy.toml")
    settings.write_text('[image]\ndockerfile = { file = "app/Dockerfile", context = "." }\n')
    assert watched(tmp_path) == ("**", OWN)
    assert repository_root(tmp_path / "app") == tmp_path / "app"


def hpcdeploy(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    return subprocess.run([COMMAND, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_command_writes_the_workflow_of_a_project_in_a_subfolder(repository: Path) -> None:
    project = repository / "cuda-exercise"
    file = repository / ".github" / "workflows" / "cuda.yaml"
    done = hpcdeploy(project, "workflow", "--install", "hpcdeploy==1.2.3", "-o", "../.github/workflows/cuda.yaml")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    workflow: dict[Any, Any] = yaml.safe_load(file.read_text())
    assert workflow[True]["push"]["branches"] == ["trunk"]
    assert ".github/workflows/cuda.yaml" in workflow[True]["push"]["paths"]
    assert workflow["jobs"]["publish"]["defaults"]["run"]["working-directory"] == "cuda-exercise"
    assert [path.name for path in file.parent.iterdir()] == ["cuda.yaml"]
    printed = hpcdeploy(project, "workflow", "--install", "hpcdeploy==1.2.3")
    assert printed.stdout == file.read_text().replace("cuda.yaml", "images.yaml")


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (None, "hpcdeploy==1.2.3"),
        (
            {"url": "https://git.example.org/hpcdeploy", "vcs_info": {"vcs": "git", "commit_id": COMMIT}},
            f"hpcdeploy @ git+https://git.example.org/hpcdeploy@{COMMIT}",
        ),
        (
            {"url": "https://example.org/hpcdeploy-1.whl", "archive_info": {}},
            "hpcdeploy @ https://example.org/hpcdeploy-1.whl",
        ),
    ],
)
def test_what_runs_here_is_what_is_installed_there(origin: object, expected: str) -> None:
    assert requirement_of(origin, "1.2.3") == expected


@pytest.mark.parametrize(
    "origin",
    [
        {},
        {"url": "git@git.example.org:me/hpcdeploy", "vcs_info": {"vcs": "git", "commit_id": COMMIT}},
        {"url": "file:///srv/hpcdeploy-1.whl", "archive_info": {}},
        {"url": "file:///nowhere", "dir_info": {"editable": True}},
    ],
)
def test_what_only_this_machine_has_is_said_with_advice(origin: object) -> None:
    with pytest.raises(ConfigError, match="--install"):
        requirement_of(origin, "1.2.3")


def test_a_clean_checkout_is_its_commit_and_a_changed_one_is_none(repository: Path) -> None:
    git(repository, "remote", "set-url", "origin", "git@git.example.org:me/hpcdeploy.git")
    origin = {"url": repository.as_uri(), "dir_info": {"editable": True}}
    commit = git(repository, "rev-parse", "HEAD").strip()
    assert requirement_of(origin, "1") == f"hpcdeploy @ git+https://git.example.org/me/hpcdeploy@{commit}"
    (repository / "cuda-exercise" / "pixi.toml").write_text("")
    with pytest.raises(ConfigError, match="--install"):
        requirement_of(origin, "1")
