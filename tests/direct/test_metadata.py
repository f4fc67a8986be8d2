"""Labels, scripts and metadata have the form that Apptainer 1.4.5 gives them."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.definition.checking import check_definition
from hpcdeploy.direct.flattening import Flattened
from hpcdeploy.direct.metadata import ImageText, base_layer, labels, metadata_layer, sif_objects, stored_definition
from hpcdeploy.source import OciConfig
from tests.direct.layer_files import file, folder, layer, written

DEFINITION = """\
# a comment before the first stage
Bootstrap: docker
From: example.org/a:b
Stage: final

%arguments
    WHO=world

%environment
    export A=1

%runscript
#!/bin/bash
echo "hello {{ WHO }}" <&2

%test
test -d /

%help
    How to run

%labels
    org.example.own  two words
    org.example.kept ours
"""
CONFIG = OciConfig(
    env=(("PATH", "/opt/bin:/bin"), ("A", 'x "$HOME" `id` \\'), ("EMPTY", ""), ("not.valid", "1")),
    labels=(("org.example.kept", "the base's"), ("org.example.changed", "the base's")),
)
ARGUMENTS = {"WHO": "you"}
TEXT = ImageText(
    stage=check_definition(DEFINITION, ARGUMENTS)[-1],
    definition=stored_definition(DEFINITION, ARGUMENTS),
    config=CONFIG,
    settings={"Env": ["A=<1>"], "Cmd": None},
    variables="export B=2\n",
    labels=(("org.example.changed", "ours"),),
    time=1_792_000_000,
)


def files(text: ImageText = TEXT) -> dict[str, str]:
    flattened = Flattened()
    flattened.add(metadata_layer(text))
    return {name: content.decode() for name, (_, content) in written(flattened).items()}


def test_the_definition_is_stored_from_its_first_stage_on_with_its_arguments() -> None:
    assert TEXT.definition.startswith("Bootstrap: docker\n")
    assert 'echo "hello you"' in TEXT.definition
    assert files()[".singularity.d/Singularity"] == TEXT.definition


def test_scripts_have_their_first_line_a_blank_line_and_the_rest() -> None:
    found = files()
    assert found[".singularity.d/runscript"] == '#!/bin/bash\n\necho "hello you" <&2\n\n\n'
    assert found[".singularity.d/test"] == "#!/bin/sh\n\ntest -d /\n\n\n"
    assert ".singularity.d/startscript" not in found


def test_labels_of_the_base_stay_unless_the_settings_change_them() -> None:
    found = labels(TEXT)
    assert {key: found[f"org.example.{key}"] for key in ("own", "kept", "changed")} == {
        "own": "two words", "kept": "the base's", "changed": "ours",
    }  # fmt: skip
    assert found["org.label-schema.build-date"] == "Wednesday_14_October_2026_17:46:40_UTC"
    assert found["org.label-schema.usage.singularity.deffile.from"] == "example.org/a:b"
    assert json.loads(files()[".singularity.d/labels.json"]) == found


def test_metadata_is_json_as_go_writes_it() -> None:
    metadata, config = (one.content.decode() for one in sif_objects(TEXT))
    assert "\\u003c\\u00262" in metadata
    attributes = json.loads(metadata)["data"]["attributes"]
    assert list(attributes) == ["environment", "labels", "runscript", "test", "helpfile", "deffile"]
    assert sorted(attributes["environment"]) == [
        f"/.singularity.d/env/{name}" for name in ("10-docker2singularity.sh", "90-environment.sh", "91-environment.sh")
    ]
    assert config == '{"Env":["A=\\u003c1\\u003e"]}'


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_variables_of_the_base_reach_a_shell_unchanged_and_the_host_wins(tmp_path: Path, shell: str) -> None:
    script = tmp_path / "env.sh"
    script.write_text(files()[".singularity.d/env/10-docker2singularity.sh"])
    line = f'. {script}; printf "%s|" "$A" "$PATH" "${{EMPTY-unset}}"'
    program = str(shutil.which(shell))
    done = subprocess.run([program, "-c", line], env={}, capture_output=True, text=True, check=True)
    assert done.stdout == 'x "$HOME" `id` \\|/opt/bin:/bin||'
    done = subprocess.run([program, "-c", line], env={"A": "mine"}, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("mine|")


def test_a_definition_that_sets_the_variables_itself_empties_their_file() -> None:
    assert files(replace(TEXT, drop_variables=True))[".singularity.d/env/10-docker2singularity.sh"] == ""


def test_the_variables_of_env_options_reach_the_container(tmp_path: Path) -> None:
    script = tmp_path / "env.sh"
    script.write_text(files()[".singularity.d/env/99-runtimevars.sh"])
    values = {"PATH": "/bin", "SING_USER_DEFINED_PREPEND_PATH": "/first", "SING_USER_DEFINED_APPEND_PATH": "/last"}
    line = f'. {script}; echo "$PATH" "${{SING_USER_DEFINED_PREPEND_PATH-gone}}"'
    done = subprocess.run(["/bin/sh", "-c", line], env=values, capture_output=True, text=True, check=True)
    assert done.stdout == "/first:/bin:/last gone\n"


def test_folders_for_mounts_are_made_only_where_they_are_missing() -> None:
    flattened = Flattened()
    flattened.add(layer(folder("tmp", 0o700), folder("etc"), file("etc/hosts", b"127.0.0.1 me\n")))
    flattened.add(base_layer(flattened.tree, 5))
    found = written(flattened)
    assert (found["tmp"][0].mode, found["var/tmp"][0].mode, found["root"][0].mode) == (0o700, 0o1777, 0o700)
    assert found["etc/hosts"][1] == found["etc/resolv.conf"][1] == b""
    assert {"dev", "proc", "sys", "home"} <= set(found)
