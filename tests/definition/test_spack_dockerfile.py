"""Dockerfiles of Spack environments: golden, read by BuildKit's own parser, and the same shell text as in definitions."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import dockerfile as buildkit
import pytest

from hpcdeploy import __version__
from hpcdeploy.definition.docker_text import DockerText, script
from hpcdeploy.definition.dockerfile.context import Context, Entry, read_ignore
from hpcdeploy.definition.dockerfile.parsing import listed, parse_dockerfile
from hpcdeploy.definition.dockerfile.translation import translate
from hpcdeploy.definition.dockerfile.words import Lexer
from hpcdeploy.definition.spack import CHECK, ENVIRONMENT, SpackRecipe
from hpcdeploy.definition.spack_dockerfile import ENTRYPOINT, render_spack_dockerfile
from hpcdeploy.environments.spack_container import Container
from hpcdeploy.errors import DefinitionError
from hpcdeploy.image import FileCopy, Secret, Step
from hpcdeploy.source import OciConfig, SpackSource, User
from tests.definition.samples import AWKWARD
from tests.definition.spack_samples import BARE, CONTAINER, MINIMAL, SYSTEM, VIEWS
from tests.definition.spack_samples import WHOLE as DEFINITION
from tests.definition.test_rendering import GOLDEN
from tests.definition.test_spack_rendering import post
from tests.golden import check_golden
from tests.shellcheck import findings

LINES = tuple(text for text in AWKWARD if "\n" not in text)
WHOLE = replace(
    DEFINITION,
    settings=replace(
        DEFINITION.settings,
        files=(FileCopy(source="tutorial", destination="/opt/tutorial"), FileCopy(source="$x [1].csv", destination="/a b")),
        setup=(
            Step(run="pdi-config --version"),
            Step(run="echo '{{ COLOUR }}' \"$KEY\" \\\n    second # line", secrets=("KEY",)),
        ),
        command=("bash", "-l", *AWKWARD),
        start=("bash", "serve.sh"),
        environment=tuple((f"VALUE_{number}", text) for number, text in enumerate(LINES)),
        build_args=(("COLOUR", 'dark "blue" $x \\'),),
        ports=(8888, 8889),
        bind_points=("/host-libs", "/scratch"),
        secrets=(*DEFINITION.settings.secrets, Secret(name="KEY", env="KEY")),
    ),
)
RECIPES = {recipe.settings.name: recipe for recipe in (MINIMAL, CONTAINER, SYSTEM, WHOLE, VIEWS, BARE)}
SHELL = ("/bin/bash", "-euo", "pipefail", "-c")
every_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)


def places(recipe: SpackRecipe) -> dict[str, str]:
    """Return the places in a project: those of the environment's files, and of the others by their names."""
    return {path: path.removeprefix("/opt/").replace("spack-environment", "envs/gpu") for path in (*recipe.shipped, CHECK)}


def written(recipe: SpackRecipe) -> DockerText:
    return render_spack_dockerfile(recipe, places(recipe), left_out=("__pycache__", ".git", ".pixi"))


def scripts(recipe: SpackRecipe) -> list[str]:
    """Return the shell text of each RUN, by BuildKit's parser."""
    runs = [one for one in buildkit.parse_string(written(recipe).dockerfile) if one.cmd.upper() == "RUN"]
    return [one.value[-1] for one in runs if one.json]


@every_recipe
@pytest.mark.parametrize("kind", ["dockerfile", "dockerignore"])
def test_the_text_is_the_golden_one(recipe: SpackRecipe, kind: str) -> None:
    golden = GOLDEN / f"{recipe.settings.name}.{kind}"
    text = (written(recipe).dockerfile if kind == "dockerfile" else written(recipe).ignore).replace(__version__, "VERSION")
    check_golden(golden, text)


@every_recipe
def test_buildkit_reads_the_instructions_that_this_project_reads(recipe: SpackRecipe) -> None:
    text = written(recipe).dockerfile
    mine, theirs = parse_dockerfile(text).instructions, buildkit.parse_string(text)
    assert [(one.name, one.line) for one in mine] == [(one.cmd.upper(), one.start_line) for one in theirs]
    for one, other in zip(mine, theirs, strict=True):
        assert not other.heredocs
        assert [f"--{name}={value}" for name, value in one.flags] == list(other.flags)
        if one.name in ("RUN", "ENTRYPOINT", "CMD"):
            assert ((one.words is not None), one.words or (one.rest,)) == (other.json, other.value)
        if one.name == "COPY":
            assert listed(one) == other.value


def lines(text: str) -> list[str]:
    """Return the lines that bash runs, without those of one format.

    A definition asks hpcdeploy for secrets, which Docker's builds have mounted; and its build sets the modes of files. Only
    a build by hpcdeploy keeps downloads in a folder outside of the image.
    """
    text = re.sub(r"\n +if \[ -n \"\$\{HPCDEPLOY_DOWNLOADS-\}\" \]; then\n.*\n +fi\n", "\n", text)
    asking = re.compile(r"\{ set \+x|set -- (CACHE|KEY)|\. /run/secrets/\.ask|\( set -- |! command -v find ")
    return [line for line in map(str.strip, text.split("\n")) if line and line[0] != "#" and not asking.match(line)]


@every_recipe
def test_both_stages_run_the_lines_of_the_definition(recipe: SpackRecipe) -> None:
    build, _, final, *_ = scripts(recipe)
    assert "\n".join(lines(build)) in "\n".join(lines(post(recipe, 0)))
    assert "\n".join(lines(final)) in "\n".join(lines(post(recipe, 1)))
    assert "spack --version" in lines(build)
    assert "HPCDEPLOY_DOWNLOADS" in post(recipe, 0)
    assert "HPCDEPLOY_DOWNLOADS" not in build


@every_recipe
def test_shellcheck_finds_nothing_in_any_script(recipe: SpackRecipe) -> None:
    found = [one for one in scripts(recipe) if "second # line" not in one]  # a step that the settings have
    assert len(found) >= 4
    for one in found:
        assert findings(f"#!/bin/bash\nset -euo pipefail\n{one}", "--exclude=SC1090,SC1091,SC2016,SC2154") == ""


@every_recipe
def test_no_run_depends_on_the_shell_of_the_base_image_or_on_here_documents(recipe: SpackRecipe) -> None:
    for one in parse_dockerfile(written(recipe).dockerfile).instructions:
        if one.name == "RUN" and one.words is None:
            assert re.fullmatch(r"[A-Za-z0-9_./ -]+", one.rest)
        assert not one.here


@every_recipe
def test_what_was_written_is_read_back(recipe: SpackRecipe) -> None:
    text = re.sub(r"--mount=\S+ ", "", written(recipe).dockerfile)  # a definition has no mounts of secrets
    entries = {folder: Entry(kind="folder", mode=0o755) for folder in ("envs", "envs/gpu", "tutorial")}
    entries |= {place: Entry(kind="file") for place in ("tutorial/x", "$x [1].csv", *places(recipe).values())}
    for place in list(entries):
        entries |= {str(folder): Entry(kind="folder", mode=0o755) for folder in list(Path(place).parents)[:-1]}
    plan = translate(
        parse_dockerfile(text), context=Context(entries=entries), image_config=lambda _: OciConfig(), build_args={}
    )
    last = plan.stages[-1]
    assert last.start.entrypoint[0] == ENTRYPOINT
    assert last.start.command == (recipe.settings.command or ("/bin/bash",))
    assert dict(recipe.settings.environment).items() <= dict(last.environment).items()
    assert dict(last.labels)["io.github.hpcdeploy.spack.target"] == recipe.target


def test_labels_and_settings_precede_those_of_spack_yaml() -> None:
    text = written(CONTAINER).dockerfile
    assert 'LABEL app="mine"\n' in text
    assert 'LABEL site="a b"\n' in text
    assert "theirs" not in text


@every_recipe
def test_the_ignore_file_lets_exactly_through_what_is_copied(recipe: SpackRecipe) -> None:
    ignore, lexer = read_ignore(written(recipe).ignore), Lexer(escape="\\")
    copied = [
        lexer.word(word).replace("[[]", "[").replace("[]]", "]")
        for one in parse_dockerfile(written(recipe).dockerfile).instructions
        if one.name == "COPY" and not any(flag == "from" for flag, _ in one.flags)
        for word in listed(one)[:-1]
    ]
    assert copied
    assert not [place for place in copied if ignore.ignores(place)]
    for place in ("Dockerfile", ".git/config", "hpcdeploy.toml", "envs/other", "tutorial/.git/y", "envs/gpu/.spack-env/z"):
        assert ignore.ignores(place)


def mounted(recipe: SpackRecipe) -> list[list[str]]:
    runs = [one for one in parse_dockerfile(written(recipe).dockerfile).instructions if one.name == "RUN"]
    return [[value for name, value in one.flags if name == "mount"] for one in runs]


def test_secrets_are_mounted_for_the_steps_that_ask_and_variables_for_three_calls_only() -> None:
    install, *others = mounted(WHOLE)
    assert install == [
        f"type=secret,id={name},target=/run/secrets/{name},required=true" for name in ("CACHE_USER", "CACHE_TOKEN")
    ]
    assert [one for one in others if one] == [["type=secret,id=KEY,target=/run/secrets/KEY,required=true"]]
    build = scripts(WHOLE)[0]
    inside, _, after = build.partition("\n    (\n")[2].partition("\n    )\n")
    assert inside.count("export CACHE_") == 2
    assert [line.split()[1] for line in lines(inside) if line.startswith("configured")] == ["install", "buildcache"]
    assert "CACHE" not in after
    assert any("--secret id=CACHE_USER --secret id=CACHE_TOKEN --secret id=KEY" in note for note in written(WHOLE).notes)


def test_steps_of_setup_run_in_the_active_environment_without_the_check() -> None:
    runs = [one for one in parse_dockerfile(written(WHOLE).dockerfile).instructions if one.name == "RUN"]
    plain, step = runs[-3:-1]
    assert plain.rest == f"{ENTRYPOINT} pdi-config --version"
    assert step.words == (
        *(ENTRYPOINT, "/bin/bash", "-eo", "pipefail", "-c"),
        'KEY="$(cat /run/secrets/KEY)"\nexport KEY\necho \'dark "blue" $x \\\' "$KEY" \\\n    second # line',
    )


def test_what_docker_s_containers_do_not_do_is_said() -> None:
    notes = written(replace(WHOLE, container=Container(test="demo --version"))).notes
    assert [note.split(":")[0] for note in notes] == [
        "'test' has no effect in the Dockerfile",
        "'start' is not in the Dockerfile",
        "arguments in 'setup' ({{ NAME }}) are already replaced",
        "pass the secrets to the build",
    ]
    assert [note.split(":")[0] for note in written(CONTAINER).notes] == ["'test' has no effect in the Dockerfile"]
    assert written(MINIMAL).notes == ()


def test_the_user_s_name_and_home_are_those_of_the_container() -> None:
    names = [(one.name, one.rest) for one in parse_dockerfile(written(WHOLE).dockerfile).instructions]
    assert names[-4:-2] == [("USER", "pdi"), ("WORKDIR", "/opt/pdi")]
    assert [rest for name, rest in names if name == "USER"] == ["root", "root", "pdi"]
    assert "WORKDIR" not in written(MINIMAL).dockerfile


def broken(recipe: SpackRecipe, **changes: object) -> SpackRecipe:
    return replace(recipe, settings=replace(recipe.settings, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (broken(MINIMAL, environment=(("A", "b\nc"),)), "A is 'b\\nc', but a value in a Dockerfile must be one line"),
        (broken(MINIMAL, base="oras://x/y"), "'base' is 'oras://x/y', but a Dockerfile can only start from an image"),
        (broken(MINIMAL, base="x/$y:1"), "'base' is 'x/$y:1', in which Docker would expand the '$'"),
        (replace(MINIMAL, container=Container(build="/a.sif", final="f")), "'base' is '/a.sif', but a Dockerfile can only"),
        (broken(MINIMAL, files=(FileCopy(source="a\\b", destination="/a"),)), "'a\\\\b' contains a backslash"),
        (broken(MINIMAL, setup=(Step(run="x", secrets=("NO",)),)), "a step of 'setup' uses the secret 'NO'"),
        (
            broken(MINIMAL, setup=(Step(run='echo "export A=b" >> "${APPTAINER_ENVIRONMENT:-$SINGULARITY_ENVIRONMENT}"'),)),
            "a step of 'setup' uses SINGULARITY_ENVIRONMENT, which is set only in a build by Apptainer",
        ),
        (replace(MINIMAL, source=SpackSource(secrets=("NO",))), "the installation ('spack') uses the secret 'NO'"),
        (replace(MINIMAL, source=SpackSource(user=User(name="me", home="/tmp/me"))), "the path '/tmp/me' is under /tmp"),
    ],
)
def test_what_a_dockerfile_cannot_say_is_refused(recipe: SpackRecipe, said: str) -> None:
    with pytest.raises(DefinitionError) as raised:
        written(recipe)
    assert str(raised.value).startswith(said)


def entry_point(recipe: SpackRecipe, folder: Path, activation: str) -> Path:
    """Write the script of the entry point, as the build stage does, into `folder`."""
    (folder / "activate.sh").write_text(activation)
    lines = scripts(recipe)[1].replace(ENVIRONMENT, str(folder))
    subprocess.run([*SHELL, lines], check=True)
    return folder / "entrypoint.sh"


def test_the_variables_of_the_image_and_of_the_user_win_over_the_activation(tmp_path: Path) -> None:
    recipe = broken(MINIMAL, environment=(("OURS", "x"), ("GIVEN", "y"), ("MISSING", "z")))
    entry = entry_point(recipe, tmp_path, 'export OURS=theirs GIVEN=theirs OTHER=theirs\nexport MISSING="theirs"\n')
    environment = {"PATH": "/usr/bin:/bin", "OURS": 'it\'s "$HOME"\n ✓', "GIVEN": "", "given": "1"}
    shown = '"$OURS" "$GIVEN" "$OTHER" "$MISSING" "${given-}${hpcdeploy_given-}" "$@"'
    command = [str(entry), "sh", "-c", f'printf "%s|" {shown}', "sh", "a b", ""]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == 'it\'s "$HOME"\n ✓||theirs|theirs|1|a b||'
    assert done.stderr == ""


@pytest.mark.parametrize(("code", "expected"), [(0, (b"checked\nran a b\n", 0)), (7, (b"checked\n", 7))])
def test_the_check_runs_first_and_its_exit_code_counts(tmp_path: Path, code: int, expected: tuple[bytes, int]) -> None:
    entry = entry_point(WHOLE, tmp_path, "export ACTIVE=yes\n")
    check = tmp_path / "check"
    check.write_text(f'#!/bin/sh\n[ "$ACTIVE" = yes ] && echo checked; exit {code}\n')
    check.chmod(0o755)
    [start] = [one.words for one in parse_dockerfile(written(WHOLE).dockerfile).instructions if one.name == "ENTRYPOINT"]
    assert start
    command = [word.replace(ENTRYPOINT, str(entry)).replace(CHECK, str(check)) for word in start]
    done = subprocess.run([*command, "echo", "ran", "a b"], capture_output=True, check=False)
    assert (done.stdout, done.returncode) == expected


@pytest.mark.parametrize(
    "text",
    [
        "echo 'a'\n  # gone\n\n\techo \"b\\\\\" \\\n   c\n",
        'x=$(cat <<<"a") # kept\necho "<<EOF" é \\\\',
        "case $x in\n  a) ;;\n  *) echo \"'#'\" ;;\nesac",
    ],
)
def test_a_script_reaches_bash_line_by_line(text: str) -> None:
    kept = "".join(f"{line}\n" for line in text.split("\n") if line.strip() and line.strip()[0] != "#")
    assert buildkit.parse_string(f"FROM x\nRUN {script(text)}\n")[1].value == (*SHELL, kept)
    mine = parse_dockerfile(f"FROM x\nRUN {script(text)}\n").instructions[1]
    assert mine.words == (*SHELL, kept)


def test_a_template_of_the_project_wins(tmp_path: Path) -> None:
    (tmp_path / "defs").mkdir()
    (tmp_path / "defs/spack.dockerfile").write_text("FROM [= final =]\n")
    text = render_spack_dockerfile(WHOLE, places(WHOLE), overrides=tmp_path)
    assert text.dockerfile == "FROM docker.io/gcc:15\n"
