"""What a shell offers on Tab: from local files only, and nothing but words that are safe in it."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cli.verbs import VERBS
from hpcdeploy.store import Store, default_path
from tests.scheduler.samples import PLAIN, run_of

COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))
SETTINGS = """
[images.base]
[images.solver]
[clusters.hpc]
host = "hpc.example.org"
schedulers = ["slurm", "htcondor"]
[clusters.far]
host = "far.example.org"
[jobs.train]
image = "base"
command = ["true"]
"""


class Shell:
    def __init__(self, folder: Path) -> None:
        self.folder = folder / "p"
        self.folder.mkdir()
        (self.folder / "hpcdeploy.toml").write_text(SETTINGS)
        self.home = folder / "home"
        self.home.mkdir()
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(self.home)}
        self.store = Store(default_path(self.environment))

    def add(self, run_id: str, project: Path | None = None) -> None:
        self.store.add(replace(run_of(PLAIN, run_id=run_id), project=str(project or self.folder)), "")

    def offered(self, *words: str, shell: str = "bash", folder: Path | None = None) -> list[str]:
        """Return what is offered for the last word."""
        line = " ".join(("hpcdeploy", *words))
        given = {
            "_HPCDEPLOY_COMPLETE": f"complete_{shell}",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words)),
            "_TYPER_COMPLETE_ARGS": line,
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        }
        done = subprocess.run(
            [COMMAND],
            cwd=folder or self.folder,
            env={**self.environment, **given},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        return list(filter(None, done.stdout.splitlines()))


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("submit", ""), ["train"]),
        (("render", "t"), ["train"]),
        (("submit", "--cluster", ""), ["hpc", "far"]),
        (("submit", "-c", "h"), ["hpc"]),
        (("submit", "--scheduler", ""), ["slurm", "htcondor"]),
        (("submit", "--image", "s"), ["solver"]),
        (("submit", "--after", "train-"), ["train-1"]),
        (("submit", "--resume", "train-"), ["train-1"]),
        (("build", ""), ["base", "solver"]),
        (("build", "--on", ""), ["hpc", "far"]),
        (("push", "b"), ["base"]),
        (("generate", "b"), ["base"]),
        (("inspect", "so"), ["solver"]),
        (("run", ""), ["train", "base", "solver"]),
        (("shell", "--image", "b"), ["base"]),
        (("run", "--engine", "d"), ["docker"]),
        (("instance", "start", "t"), ["train"]),
        (("templates", "show", "defs/spack.de"), ["defs/spack.def"]),
        (("templates", "copy", "slurm_templates/job"), ["slurm_templates/job.sh"]),
        (("runs", "--project", ""), ["{p}"]),
        (("runs", "-c", ""), ["hpc"]),
        *(((verb, ""), ["train", "train-1"]) for verb in ("rerun", "status", "wait", "watch", "logs", "results", "fetch")),
        (("cancel", "train-1", ""), ["train", "train-1"]),
    ],
)
def test_a_shell_is_offered_what_is_meant(shell: Shell, words: tuple[str, ...], expected: list[str]) -> None:
    shell.add("train-1")
    assert shell.offered(*words) == [word.format(p=shell.folder) for word in expected]


def test_the_runs_of_this_project_come_first(shell: Shell, tmp_path: Path) -> None:
    for run_id, project in (("old-1", None), ("other-1", tmp_path / "q"), ("new-1", None)):
        shell.add(run_id, project)
    assert shell.offered("logs", "") == ["train", "new-1", "old-1", "other-1"]
    assert shell.offered("logs", "oth") == ["other-1"]
    assert shell.offered("logs", "", folder=tmp_path) == ["new-1", "other-1", "old-1"]


def test_zsh_and_fish_are_told_what_a_word_is(shell: Shell) -> None:
    shell.add("train-1")
    assert shell.offered("logs", "train-", shell="fish") == ["train-1\thpc, not ended"]
    assert '"train-1":"hpc, not ended"' in "".join(shell.offered("logs", "train-", shell="zsh"))


def test_zsh_shows_the_whole_help(shell: Shell) -> None:
    """typer's script evaluates the output, and zsh's ``_arguments`` evaluates the offers in it (``eval ws=(...)``).

    bash, which is on every machine, has the same quotes.
    """
    script = (
        '_arguments() { offers=${1#"*: :(("}; eval "ws=( ${offers%))} )"; }\n'
        f"{' '.join(shell.offered('', shell='zsh'))}\n"
        "printf '%s\\n' \"${ws[@]}\"\n"
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    offered = dict(line.split(":", 1) for line in done.stdout.splitlines())
    assert done.stderr == ""
    assert {name: verb.help for name, verb in VERBS.items()}.items() <= offered.items()


@pytest.mark.parametrize("settings", ["[", "nonsense = 1", None])
def test_an_error_offers_nothing_and_prints_nothing(shell: Shell, settings: str | None) -> None:
    file = shell.folder / "hpcdeploy.toml"
    file.write_text(settings) if settings else file.unlink()
    assert shell.offered("submit", "") == []
    state = default_path(shell.environment).parent
    assert not state.exists(), "a completion makes no record"
    state.mkdir(parents=True)
    (state / "runs.db").write_text("no record")
    assert shell.offered("logs", "") == []


def test_a_word_that_a_shell_would_evaluate_is_not_offered(shell: Shell) -> None:
    shell.add("train-1", Path("/p/$(touch x)"))
    shell.add("a`id`", Path("/fine"))
    assert shell.offered("runs", "--project", "", shell="zsh") == ["""_arguments '*: :(("/fine"))'"""]
    assert shell.offered("logs", "a", shell="zsh") == ["_files"]
    assert shell.offered("submit", "--x$(id)=", shell="zsh") == ["compset -P '--*='; _files"]


def test_a_completion_imports_nothing_heavy(shell: Shell) -> None:
    shell.add("train-1")
    code = (
        "import sys\nfrom hpcdeploy.cli import completion\n"
        "for name in sorted(vars(completion)):\n"
        "    value = getattr(completion, name)\n"
        "    if getattr(value, '__qualname__', '').startswith('_offers.'):\n"
        "        print(name, value(''))\n"
        "print(*sorted({one.partition('.')[0] for one in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=shell.folder, env=shell.environment, capture_output=True, text=True, check=True
    )
    *offers, modules = done.stdout.splitlines()
    assert len(offers) > 8
    assert not {"paramiko", "jinja2", "rich", "yaml", "oras", "spython", "requests", "cryptography"} & set(modules.split())


def test_bash_completes_a_run(shell: Shell) -> None:
    shell.add("train-1")
    script = (
        f'eval "$(_HPCDEPLOY_COMPLETE=source_bash {COMMAND})"; COMP_WORDS=(hpcdeploy logs train-); COMP_CWORD=2; '
        f'_hpcdeploy_completion {COMMAND}; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(
        ["bash", "-c", script], cwd=shell.folder, env=shell.environment, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("train-1\n", "")


@pytest.mark.parametrize("name", ["--cluster", "--scheduler"])
def test_an_option_with_its_value_in_one_word_is_completed_in_every_shell(shell: Shell, name: str) -> None:
    """bash completes the text after "=", zsh and fish the whole word."""
    values = {"--cluster": ["hpc", "far"], "--scheduler": ["slurm", "htcondor"]}[name]
    assert shell.offered("submit", f"{name}=", shell="bash") == values
    offered = [line.partition("\t")[0] for line in shell.offered("submit", f"{name}=", shell="fish")]
    assert offered == [f"{name}={value}" for value in values]
    zsh = "\n".join(shell.offered("submit", f"{name}=", shell="zsh"))
    assert all(f'"{name}={value}"' in zsh for value in values)
    assert shell.offered("fetch", "--output=fol", shell="zsh") == ["compset -P '--*='; _files"]


def test_verbs_are_offered_with_their_whole_help_and_none_is_imported(shell: Shell) -> None:
    offered = dict(line.split("\t") for line in shell.offered("", shell="fish"))
    assert {name: verb.help for name, verb in VERBS.items()}.items() <= offered.items()
    assert "lab" in offered
    code = (
        "import sys\nfrom hpcdeploy.cli.main import main\n"
        "try:\n    main()\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    )
    given = {"_HPCDEPLOY_COMPLETE": "complete_bash", "COMP_WORDS": "hpcdeploy re", "COMP_CWORD": "1"}
    argv = [sys.executable, "-c", f"import sys; sys.argv = ['hpcdeploy']\n{code}"]
    done = subprocess.run(argv, env={**shell.environment, **given}, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["render", "rerun", "results"]
    assert not {f"hpcdeploy.cli.{verb.module}" for verb in VERBS.values()} & set(done.stderr.split())


def test_the_images_of_the_project_are_offered_to_tags(shell: Shell) -> None:
    assert shell.offered("tags", "s") == ["solver"]


def test_the_first_tab_in_a_zsh_completes(shell: Shell) -> None:
    """The script is autoloaded at the first Tab; zsh then calls nothing but the file itself."""
    environment = {
        **shell.environment,
        "PATH": f"{Path(COMMAND).parent}:{os.environ['PATH']}",
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }
    argv = [COMMAND, "--install-completion", "zsh"]
    subprocess.run(argv, env=environment, cwd=shell.folder, capture_output=True, check=True)
    script = (shell.home / ".zfunc" / "_hpcdeploy").read_text()
    assert script.startswith("#compdef hpcdeploy\n")
    assert script.endswith('\n[[ $zsh_eval_context[-1] != loadautofunc ]] || _hpcdeploy_completion "$@"')
