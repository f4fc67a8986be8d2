"""What the real Apptainer does while it builds: the facts that our definitions are written around.

A failure here says that Apptainer changed, and that a definition may be written more simply, or must be otherwise.
"""

import json
from collections.abc import Mapping

import pytest

from hpcdeploy.transport.contract import Transport
from hpcdeploy_lab.state import Lab

FACTS = r"""
Bootstrap: docker
From: BASE
Stage: build

%post
#!/bin/bash
echo "shell: ${BASH_VERSION:-no bash}" > /facts
echo "home: $HOME" >> /facts
echo "folder: $PWD" >> /facts
echo "host variable: ${OF_THE_HOST:-unset}" >> /facts
echo "own environment: ${OF_THIS_STAGE:-unset}" >> /facts
echo "variables: ${APPTAINER_ENVIRONMENT:-unset} ${SINGULARITY_ENVIRONMENT:-unset}" >> /facts
ls /from-host > /dev/null && echo "files before post: yes" >> /facts
touch /tmp/hpcdeploy-fact-$$ && echo "tmp: /tmp/hpcdeploy-fact-$$" >> /facts
mkdir -p /links && echo target > /links/target && ln -s target /links/relative && ln -s /links/target /top

%environment
export OF_THIS_STAGE=set

%files
context /from-host

%test
echo ran > /dev/null

Bootstrap: docker
From: BASE
Stage: final

%files from build
/facts /facts
/links /links
/top /top

%files
context/link /followed
context/a b # ignored

%post -c /bin/bash
false
echo "bash goes on after a failure: yes" >> /facts
printf 'kept\tname value\n' > /dev/null
printf 'overriden.label of post\n' >> "$APPTAINER_LABELS"

%labels
tabbed	label value
quoted "a value"
overriden.label of labels

%runscript

#!/bin/bash
echo "${BASH_VERSION:-no bash}"

%test
false
true
"""

RUN = """
import json, os, pathlib, shutil, subprocess, sys, tempfile
folder = pathlib.Path(tempfile.mkdtemp(dir=os.environ["SCRATCH"]))
(folder / "context").mkdir()
(folder / "context" / "a").write_text("a")
(folder / "context" / "link").symlink_to("a")
(folder / "x.def").write_text(sys.stdin.read())
environment = {**os.environ, "APPTAINER_NOHTTPS": "1", "OF_THE_HOST": "set"}
command = ["apptainer", "build", "--sandbox", "image", "x.def"]
done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
image = folder / "image"
answer = {"code": done.returncode, "said": done.stdout + done.stderr}
if done.returncode == 0:
    facts = (image / "facts").read_text().splitlines()
    answer |= dict(line.split(": ", 1) for line in facts)
    answer["tmp is the host's"] = os.path.exists(answer["tmp"]) and not (image / answer["tmp"][1:]).exists()
    if answer["tmp is the host's"]:
        os.unlink(answer["tmp"])
    answer["links"] = {
        "inside": os.readlink(image / "links/relative"),
        "top": (image / "top").is_symlink(),
        "from the host": (image / "followed").is_symlink(),
    }
    answer["third word"] = (image / "b").is_file()
    answer["labels"] = json.loads((image / ".singularity.d/labels.json").read_text())
    answer["runscript"] = subprocess.run(["apptainer", "run", str(image)], capture_output=True, text=True).stdout
    answer["environments"] = {}
    for line in ("export X=1", "exit 0", "exit 3", "false || exit 1", "(exit 1)", "return 1", "exec true"):
        (image / ".singularity.d/env/90-environment.sh").write_text(f"#!/bin/sh\\n{line}\\n")
        done = subprocess.run(["apptainer", "exec", str(image), "echo", "ran"], capture_output=True, text=True)
        answer["environments"][line] = [done.returncode, done.stdout]
    answer["stored"] = (image / ".singularity.d/Singularity").read_text()
subprocess.run(["chmod", "-R", "u+rwX", str(folder)], capture_output=True)
shutil.rmtree(folder)
print(json.dumps(answer))
"""


@pytest.fixture(scope="module")
def seen(lab: Lab, transport: Transport) -> Mapping[str, object]:
    """What one build showed."""
    text = FACTS.lstrip().replace("BASE", f"{lab.registry}/prefix-dev/pixi:noble")
    done = transport.run(["python3", "-c", RUN], stdin=text.encode())
    assert done.exit_code == 0, done.stderr.decode()
    answer: dict[str, object] = json.loads(done.stdout)
    assert answer["code"] == 0, answer["said"]
    return answer


def test_an_interpreter_line_in_post_is_a_comment(seen: Mapping[str, object]) -> None:
    assert seen["shell"] == "no bash"


def test_bash_after_c_goes_on_after_a_failure_and_the_build_succeeds(seen: Mapping[str, object]) -> None:
    assert seen["bash goes on after a failure"] == "yes"


def test_a_failing_line_in_the_middle_of_the_test_does_not_fail_the_build(seen: Mapping[str, object]) -> None:
    assert seen["code"] == 0


def test_post_starts_in_the_root_folder(seen: Mapping[str, object]) -> None:
    assert seen["folder"] == "/"


def test_the_host_s_variables_do_not_reach_post(seen: Mapping[str, object]) -> None:
    assert seen["host variable"] == "unset"


def test_a_stage_s_own_environment_is_not_read_in_its_post(seen: Mapping[str, object]) -> None:
    assert seen["own environment"] == "unset"


def test_post_knows_the_file_of_variables_by_both_names(seen: Mapping[str, object]) -> None:
    assert "unset" not in str(seen["variables"])


def test_files_are_there_before_post(seen: Mapping[str, object]) -> None:
    assert seen["files before post"] == "yes"


def test_tmp_is_the_host_s_and_not_in_the_image(seen: Mapping[str, object]) -> None:
    assert seen["tmp is the host's"] is True


def test_links_are_kept_between_stages_but_for_the_one_that_is_named(seen: Mapping[str, object]) -> None:
    assert seen["links"] == {"inside": "target", "top": False, "from the host": False}


def test_words_after_the_second_are_ignored(seen: Mapping[str, object]) -> None:
    assert seen["third word"] is True


def test_a_label_s_name_goes_on_past_a_tab_and_quotes_are_part_of_its_value(seen: Mapping[str, object]) -> None:
    labels = seen["labels"]
    assert isinstance(labels, dict)
    assert labels["tabbed\tlabel"] == "value"
    assert labels["quoted"] == '"a value"'


def test_a_label_of_post_wins_over_the_same_one_of_labels(seen: Mapping[str, object]) -> None:
    labels = seen["labels"]
    assert isinstance(labels, dict)
    assert labels["overriden.label"] == "of post"


def test_an_interpreter_line_after_a_blank_line_is_a_comment(seen: Mapping[str, object]) -> None:
    assert seen["runscript"] == "no bash\n"


def test_the_definition_is_kept_in_the_image(seen: Mapping[str, object]) -> None:
    assert "OF_THIS_STAGE" in str(seen["stored"])


def test_exit_in_the_environment_runs_nothing_and_its_code_is_the_container_s(seen: Mapping[str, object]) -> None:
    assert seen["environments"] == {
        "export X=1": [0, "ran\n"],
        "exit 0": [0, ""],
        "exit 3": [3, ""],
        "false || exit 1": [1, ""],
        "(exit 1)": [0, "ran\n"],
        "return 1": [0, "ran\n"],
        "exec true": [0, ""],
    }


TEMPORARY = """
import json, os, pathlib, shutil, subprocess, sys, tempfile
top = pathlib.Path(tempfile.mkdtemp(dir=os.environ["SCRATCH"]))
(top / "x.def").write_text(sys.stdin.read())
answers = {}
for name in ("a b#c", "a(b", "it's", "a #b", "a,b", "a$HOME"):
    (top / name).mkdir()
    environment = {**os.environ, "APPTAINER_NOHTTPS": "1", "APPTAINER_TMPDIR": str(top / name)}
    command = ["apptainer", "build", "image.sif", "x.def"]
    done = subprocess.run(command, cwd=top, env=environment, capture_output=True, text=True)
    shown = subprocess.run(["apptainer", "inspect", "image.sif"], cwd=top, capture_output=True, text=True)
    answers[name] = [done.returncode, done.stderr, shown.stdout]
    (top / "image.sif").unlink(missing_ok=True)
subprocess.run(["chmod", "-R", "u+rwX", str(top)], capture_output=True)
shutil.rmtree(top)
print(json.dumps(answers))
"""


def test_it_cannot_build_in_some_folders(lab: Lab, transport: Transport) -> None:
    """What `hpcdeploy.apptainer.temporary` refuses."""
    text = f"Bootstrap: docker\nFrom: {lab.registry}/prefix-dev/pixi:noble\n%post\n    true\n%labels\n    kept yes\n"
    done = transport.run(["python3", "-c", TEMPORARY], stdin=text.encode())
    assert done.exit_code == 0, done.stderr.decode()
    answers: dict[str, tuple[int, str, str]] = json.loads(done.stdout)
    code, said, labels = answers.pop("a b#c")
    assert code == 0, said
    assert "kept: yes" in labels
    code, said, labels = answers.pop("a$HOME")
    assert code == 0, said
    assert "kept: yes" not in labels
    assert {name: (code, "could not inspect container" in said) for name, (code, said, _) in answers.items()} == {
        name: (255, name != "a,b") for name in answers
    }
