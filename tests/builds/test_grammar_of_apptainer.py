"""The reader of definitions says of each text what the real Apptainer says of it."""

import json
import re
from pathlib import Path

import pytest

from hpcdeploy.apptainer.client import check_version, parse_version
from hpcdeploy.definition.checking import check_definition
from hpcdeploy.definition.grammar import SECTION_LIMIT, substitute
from hpcdeploy.errors import BuildError, DefinitionError
from hpcdeploy.flows.generate import generate
from hpcdeploy.image import ImageSettings
from hpcdeploy.source import DefinitionSource
from hpcdeploy.transport.contract import Transport
from hpcdeploy_lab.state import Lab

HEAD = "Bootstrap: scratch\n"
WITH_SHELL = "Bootstrap: docker\nFrom: BASE\n"
"""For apps, which always add lines to %post."""
ARGUMENTS = HEAD + '%arguments\n    A=1\n    Q="a b"\n    N={{ A }}\n\n'
COPY = HEAD + "Stage: build\n%help\nx\n" + HEAD + "Stage: final\n%files from NAME\n/.singularity.d/env /there\n"

TEXTS = {
    "plain": HEAD + "%help\nx\n",
    "percent in a here-document": HEAD + "%help\ncat <<X\n%timeit x\nX\n",
    "indented percent": HEAD + "%help\n  %{name}\n",
    "quoted percent": HEAD + "%help\n'%s'\n",
    "indented section": HEAD + "  %help\nx\n",
    "unknown section": HEAD + "%halp\nx\n",
    "section in capitals": HEAD + "%HELP\nx\n",
    "tab after the name": HEAD + "%help\tx\ny\n",
    "carriage returns": "Bootstrap: scratch\r\n%help\r\nx\r\n",
    "bootstrap in column 0": HEAD + "%help\nbootstrap: scratch\nwords\n",
    "bootstrap indented": HEAD + "%help\n  bootstrap: scratch\nwords\n",
    "unknown header": HEAD + "Exclude: /x\n%help\nx\n",
    "header without a colon": HEAD + "Stage final\n%help\nx\n",
    "header with a comment": HEAD + "# a comment\nStage: final # another\n%help\nx\n",
    "comment first": "# a comment\n" + HEAD + "%help\nx\n",
    "stage before bootstrap": "Stage: build\n" + HEAD + "%help\nx\n",
    "copy from an earlier stage": COPY.replace("NAME", "build"),
    "copy from a stage in other capitals": COPY.replace("NAME", "Build"),
    "copy from a stage by its number": COPY.replace("NAME", "0"),
    "a long section": HEAD + "%help\n" + "x" * 60 + ("\n" + "y" * 60) * (SECTION_LIMIT // 61 + 20) + "\n",
    "a section under the limit": HEAD + "%help\n" + ("y" * 60 + "\n") * (SECTION_LIMIT // 61 - 20),
    "template": ARGUMENTS + "%help\n{{A}} {{ A }} ${{ A }}\n",
    "quotes are kept": ARGUMENTS + "%help\n{{ Q }}\n",
    "nested": ARGUMENTS + "%help\n{{ N }}\n",
    "other braces": ARGUMENTS + "%help\n{{.ID}} {{- x }} {{ a|b }} {{ a.b }} '{''{ A }}'\n",
    "template without a value": ARGUMENTS + "%help\n{{ B }}\n",
    "template in a comment": ARGUMENTS + "%help\n# {{ A }}\n",
    "unknown template in a comment": ARGUMENTS + "%help\n# {{ B }}\n",
    "unknown template right after the sign": ARGUMENTS + "%help\n#{{ B }}\n",
    "template right after the sign": ARGUMENTS + "%help\n#{{ A }} {{ A }}\n",
    "template after a number sign": ARGUMENTS + "%help\n${V#p} {{ A }}\n",
    "interpreter line": ARGUMENTS + "%help\n#!{{ A }}\n",
    "template twice after a number sign": ARGUMENTS + "%help\n{{ A }} # {{ A }}\n",
    "arguments of another stage": ARGUMENTS + "%help\n{{ A }}\n" + HEAD + "%help\n{{ A }}\n",
    "app without a name": WITH_SHELL + "%apprun\ntrue\n",
    "app with a blank for a name": WITH_SHELL + "%apphelp \nx\n",
    "app after two blanks": WITH_SHELL + "%apphelp  tool\nx\n",
    "app section in capitals": WITH_SHELL + "%AppHelp tool\nx\n",
    "app": WITH_SHELL + "%apphelp tool\nx\n%applabels tool\na b\n",
    "app after a tab": WITH_SHELL + "%apphelp\ttool\nx\n",
    "busybox without a mirror": "Bootstrap: busybox\n%help\nx\n",
    "unknown agent": "Bootstrap: podman\nFrom: x\n%help\nx\n",
    "agent in capitals": "Bootstrap: Scratch\n%help\nx\n",
    "no agent": "Bootstrap:\n%help\nx\n",
    "base that is none": "Bootstrap: docker\n%help\nx\n",
    "oras twice": "Bootstrap: oras\nFrom: oras://127.0.0.1:9/x\n%help\nx\n",
    "header over two lines": HEAD + "Stage: fi\\\nnal\n%help\nx\n",
    "files after two blanks": HEAD + "%files  \n/nowhere /there\n",
    "files with a comment": HEAD + "%files # note\n/etc/passwd /there\n",
    "files from nothing": HEAD + "%files from\n/nowhere /there\n",
    "files without a name": HEAD + '%files\n"" /there\n',
    "copy with another word": COPY.replace("from NAME", "of build"),
    "two stages": ARGUMENTS + "%help\n{{ A }}\n" + ARGUMENTS + "%help\n{{ A }}\n",
    "empty value": HEAD + "%arguments\nE=\n%help\n[{{ E }}]\n",
    "value with an equals sign": HEAD + "%arguments\nE=a=b\n%help\n[{{ E }}]\n",
}

LATER = {
    "buildkit": "Bootstrap: buildkit\nFrom: .\n%help\nx\n",
    "dockerfile": "Bootstrap: dockerfile\nFrom: .\n%help\nx\n",
    "target": HEAD + "Target: x\n%help\nx\n",
}
"""What Apptainer 1.4 does not know, and 1.5 does."""

OF_FILES = {
    "appfiles with a pattern": WITH_SHELL + "%appfiles tool\n/etc/pass* ./\n",
    "appfiles with quotes": WITH_SHELL + '%appfiles tool\n"/etc/passwd" ./\n',
    "appfiles with a tab": WITH_SHELL + "%appfiles tool\n/etc/passwd\t./\n",
    "appfiles": WITH_SHELL + "%appfiles tool\n/etc/passwd ./ # note\n/etc/hostname x\n",
}
"""Files of apps, on the build machine."""

BUILD_ALL = """
import json, os, shutil, subprocess, sys, tempfile
answers = {}
folder = tempfile.mkdtemp(dir=os.environ["SCRATCH"])
for name, text in json.load(sys.stdin).items():
    image, definition = folder + "/image", folder + "/x.def"
    with open(definition, "w", newline="") as file:
        file.write(text)
    done = subprocess.run(["apptainer", "build", "--force", "--sandbox", image, definition], capture_output=True, text=True)
    kept = image + "/.singularity.d/Singularity"
    built = done.returncode == 0
    answers[name] = {"built": built, "text": open(kept, newline="").read() if built else "", "said": done.stderr}
    subprocess.run(["chmod", "-R", "u+rwX", image], capture_output=True)
    shutil.rmtree(image, ignore_errors=True)
shutil.rmtree(folder)
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers(lab: Lab, transport: Transport) -> dict[str, dict[str, object]]:
    """What the real Apptainer made of every text: whether it built, and the text with its templates replaced."""
    base = f"{lab.registry}/prefix-dev/pixi:noble"
    texts = {name: text.replace("From: BASE", f"From: {base}") for name, text in (TEXTS | LATER | OF_FILES).items()}
    done = transport.run(["env", "APPTAINER_NOHTTPS=1", "python3", "-c", BUILD_ALL], stdin=json.dumps(texts).encode())
    assert done.exit_code == 0, done.stderr.decode()
    answers: dict[str, dict[str, object]] = json.loads(done.stdout)
    return answers


def test_apptainer_takes_some_and_refuses_some(answers: dict[str, dict[str, object]]) -> None:
    assert {answer["built"] for answer in answers.values()} == {True, False}


@pytest.mark.parametrize("name", TEXTS)
def test_what_apptainer_refuses_is_refused_and_what_it_takes_is_read_alike(
    answers: dict[str, dict[str, object]], name: str
) -> None:
    answer = answers[name]
    if answer["built"]:
        check_definition(TEXTS[name])
        replaced = substitute(TEXTS[name], {})
        kept = re.sub(r"(?m)^From: .*/prefix-dev/pixi:noble$", "From: BASE", str(answer["text"]))
        assert replaced[replaced.index("Bootstrap:") :].strip() == kept.strip()
    else:
        with pytest.raises(DefinitionError):
            check_definition(TEXTS[name])


@pytest.mark.parametrize("name", LATER)
def test_what_this_version_does_not_know_yet_is_named(
    answers: dict[str, dict[str, object]], transport: Transport, name: str
) -> None:
    stages = check_definition(LATER[name])
    version = parse_version(transport.run(["apptainer", "--version"]).stdout.decode())
    if answers[name]["built"]:
        check_version(version, headers=[stage.header for stage in stages])
    else:
        with pytest.raises(BuildError, match=f"{name}.*1.5.0 or later"):
            check_version(version, headers=[stage.header for stage in stages])


@pytest.mark.parametrize("name", OF_FILES)
def test_files_of_apps_are_named_as_apptainer_names_them(
    answers: dict[str, dict[str, object]], name: str, tmp_path: Path
) -> None:
    (tmp_path / "etc").mkdir()
    for file in ("passwd", "hostname"):
        (tmp_path / "etc" / file).write_text("")
    (tmp_path / "own.def").write_text(OF_FILES[name].replace("/etc/", "etc/", 1).replace("\n/etc/", "\netc/"))
    settings = ImageSettings(name="own", source=DefinitionSource(file="own.def"))
    if answers[name]["built"]:
        assert {file.staged for file in generate(settings, tmp_path).files} == {"etc/passwd", "etc/hostname"}
    else:
        with pytest.raises(DefinitionError, match="%appfiles tool names"):
            generate(settings, tmp_path)
