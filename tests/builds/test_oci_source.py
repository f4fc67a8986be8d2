"""Images that exist, built and started with the real Apptainer: they do what they do with Docker."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.flows.build import build_on
from hpcdeploy.flows.generate import generate
from hpcdeploy.image import BuiltImage, FileCopy, ImageSettings, Step
from hpcdeploy.registry.lookup import image_config, image_config_by
from hpcdeploy.source import OciSource
from hpcdeploy.transport.contract import Transport
from hpcdeploy_lab.state import Lab
from tests.builds.container_images import NO_BASH, NO_SHELL, Container, make
from tests.builds.test_build_on_cluster import shell
from tests.sessions import session
from tests.shared import OWN

ODD = 'it\'s "q" $HOME `id` $(id) ${x \\ {{ X }} %s # é\nsecond\n%post\n  %test\nBootstrap: docker\r\n'
WHOLE = {
    "Entrypoint": ["/usr/local/bin/entry", "a b", "$HOME"],
    "Cmd": ["c $d", "e'f", "`id`", "{{ X }}", "x\n%post"],
    "WorkingDir": "/srv/my dir",
    "User": "1000:1000",
    "Env": [
        "PATH=/opt/own/bin:/usr/bin:/bin",
        f"ODD={ODD}",
        "HOST=image's",
        "EMPTY=",
        "a.b=c",
        "HOME=/home/x",
        "UID=7",
        "LAST=1",
    ],
    "Labels": {"org.example.kept": "the image's", "org.example.changed": "the image's"},
    "Volumes": {"/data": {}},
}
SETTINGS = ImageSettings(
    name="oci",
    source=OciSource(reference=""),
    files=(FileCopy(source="data.txt", destination="/opt/data.txt"),),
    setup=(Step(run='{ pwd; printf %s "$ODD$OWN"; } > /opt/said-in-setup'),),
    test=('test "$OWN" = mine',),
    environment=(("OWN", "mine"),),
    labels=(("org.example.changed", "ours # {{ X }}"), ("org.example.new", "ours")),
    bind_points=("/scratch", "/opt/a b"),
)
PRINT = 'for name; do eval "printf \'%s=<%s>\\\\n\' $name \\"\\${$name-unset}\\""; done'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("oci")
    (made / "data.txt").write_text("data\n")
    return made


@pytest.fixture(scope="module")
def whole(lab: Lab, folder: Path) -> Container:
    """An image without bash that uses all that Apptainer loses."""
    return make(lab, folder, WHOLE, without=NO_BASH)


@pytest.fixture(scope="module")
def reference(lab: Lab, whole: Container) -> str:
    return whole.push(lab, "oci-tests/whole")


@pytest.fixture(scope="module")
def built(reference: str, folder: Path, place: Cluster, transport: Transport) -> BuiltImage:
    settings = replace(SETTINGS, source=OciSource(reference=reference))
    return build_on(generate(settings, folder, image_config=image_config), session(place, transport))


def test_an_image_is_taken_from_the_cluster_s_mirror(
    reference: str, built: BuiltImage, lab: Lab, folder: Path, place: Cluster, transport: Transport
) -> None:
    cluster = replace(place, mirrors=(("registry.invalid", lab.registry),))
    settings = replace(SETTINGS, source=OciSource(reference=reference.replace(lab.registry, "registry.invalid")))
    definition = generate(settings, folder, image_config=image_config_by(cluster.mirrors))
    assert "From: registry.invalid/oci-tests/whole@sha256:" in definition.text
    mirrored = build_on(definition, session(cluster, transport))
    assert shell(transport, 'apptainer run "$1"', mirrored.path) == shell(transport, 'apptainer run "$1"', built.path)


@pytest.fixture
def started(built: BuiltImage, transport: Transport) -> Iterator[str]:
    """Start an instance that writes what it is told to a file; give that file's content."""
    line = f"""
      said=$SCRATCH/{OWN}/said
      rm -f "$said"
      apptainer instance start --env SAID="$said" --bind "$SCRATCH" "$1" "$2" "${{@:3}}" >&2
      for _ in $(seq 100); do [ -s "$said" ] && break; sleep 0.1; done
      cat "$said"
    """
    yield shell(transport, line, built.path, OWN, "p q")
    shell(transport, f"apptainer instance stop {OWN}")


def test_the_definition_names_the_image_by_its_digest(reference: str, whole: Container, folder: Path) -> None:
    definition = generate(replace(SETTINGS, source=OciSource(reference=reference)), folder, image_config=image_config)
    assert definition.base == f"{reference.removesuffix(':v1')}@{whole.manifest.digest}"
    assert f"io.github.hpcdeploy.image {reference}\n" in definition.text


def test_run_without_words_is_entrypoint_and_cmd_in_workdir(built: BuiltImage, transport: Transport) -> None:
    words = "<a b><$HOME><c $d><e'f><`id`><{{ X }}><x\n%post>"
    assert shell(transport, 'apptainer run "$1"', built.path) == f"[/srv/my dir]{words}"


def test_words_take_the_place_of_cmd_and_reach_the_entrypoint_as_they_are(built: BuiltImage, transport: Transport) -> None:
    words = ("$HOME", "", "`id`", "a  'b'", "--help")
    assert shell(transport, 'apptainer run "$@"', built.path, *words) == (
        "[/srv/my dir]<a b><$HOME><$HOME><><`id`><a  'b'><--help>"
    )


def test_an_instance_starts_the_same_with_its_own_words(started: str) -> None:
    assert started == "[/srv/my dir]<a b><$HOME><p q>"


def test_exec_and_shell_stay_where_the_person_is(built: BuiltImage, transport: Transport) -> None:
    line = f'cd "$SCRATCH/{OWN}" && apptainer exec "$1" pwd && apptainer shell --shell /bin/sh "$1" <<<pwd'
    assert shell(transport, line, built.path) == f"/scratch/lab/{OWN}\n" * 2


@pytest.mark.parametrize("verb", ["exec", "exec --cleanenv"])
def test_variables_are_the_image_s_own_whatever_stands_in_them(built: BuiltImage, transport: Transport, verb: str) -> None:
    line = f'HOST=host ODD=host apptainer {verb} "$1" sh -c "$2" sh HOST ODD EMPTY LAST OWN HOME'
    assert shell(transport, line, built.path, PRINT) == (
        f"HOST=<image's>\nODD=<{ODD}>\nEMPTY=<>\nLAST=<1>\nOWN=<mine>\nHOME=</home/lab>\n"
    )
    path = shell(transport, f'apptainer {verb} "$1" sh -c \'echo "$PATH"\'', built.path)
    assert path.startswith("/opt/own/bin:/usr/bin:/bin")


def test_a_variable_that_is_given_by_option_wins(built: BuiltImage, transport: Transport) -> None:
    line = 'apptainer exec --env HOST=mine "$1" sh -c "$2" sh HOST'
    assert shell(transport, line, built.path, PRINT) == "HOST=<mine>\n"


def test_no_variable_disturbs_the_start(built: BuiltImage, transport: Transport) -> None:
    assert "10-docker2singularity.sh" not in shell(transport, 'apptainer exec "$1" true 2>&1', built.path)


def test_settings_come_on_top_without_bash(built: BuiltImage, transport: Transport) -> None:
    line = 'apptainer exec "$1" sh -c "cat /opt/said-in-setup; echo; cat /opt/data.txt; ls -d /scratch \'/opt/a b\'"'
    assert shell(transport, line, built.path) == f"/srv/my dir\n{ODD}mine\ndata\n/opt/a b\n/scratch\n"
    labels = shell(transport, 'apptainer inspect "$1"', built.path).splitlines()
    for label in ("org.example.kept: the image's", "org.example.changed: ours # {{ X }}", "org.example.new: ours"):
        assert label in labels


def test_apptainer_alone_loses_all_that(reference: str, built: BuiltImage, transport: Transport) -> None:
    """Where this fails, Apptainer has learnt something, and ``defs/oci.def`` may forget it."""
    assert built.path
    line = f"""
      export APPTAINER_NOHTTPS=1 APPTAINER_CACHEDIR=$SCRATCH/{OWN}/cache APPTAINER_TMPDIR=$SCRATCH/{OWN}
      box=$SCRATCH/{OWN}/alone
      apptainer build --sandbox "$box" "docker://$1" >&2
      HOST=host apptainer exec "$box" sh -c 'echo "<$HOST><$LAST>"' 2>/dev/null
      apptainer run "$box" '$HOME' 2>/dev/null; echo
      tail -n +10 "$box/.singularity.d/startscript"
      rm -rf "$box"
    """
    assert shell(transport, line, reference) == "<host><>\n[/home/lab]<a b><$HOME></home/lab>\n"


@pytest.mark.parametrize("kind", ["oci-archive", "docker-archive"])
def test_an_archive_of_the_project_is_built_on(
    lab: Lab, tmp_path: Path, place: Cluster, transport: Transport, kind: str
) -> None:
    image = make(lab, tmp_path, {"Cmd": ["/usr/local/bin/entry", kind], "WorkingDir": "/nowhere", "Env": ["A=b"]})
    (image.oci_archive if kind == "oci-archive" else image.docker_archive)(tmp_path / "an image.tar")
    settings = ImageSettings(name="archive", source=OciSource(reference=f"{kind}:an image.tar"))
    built = build_on(generate(settings, tmp_path), session(place, transport))
    assert shell(transport, 'apptainer run "$1" 2>/dev/null', built.path) == f"[/home/lab]<{kind}>"
    assert "cannot enter the image's WORKDIR /nowhere; staying in /home/lab" in shell(
        transport, 'apptainer run "$1" 2>&1 >/dev/null', built.path
    )
    assert shell(transport, 'apptainer run "$1" printenv A', built.path) == "b\n"


def test_an_image_that_names_no_command_says_so_and_takes_one(
    lab: Lab, tmp_path: Path, place: Cluster, transport: Transport
) -> None:
    reference = make(lab, tmp_path, {}).push(lab, "oci-tests/silent")
    settings = ImageSettings(name="silent", source=OciSource(reference=reference))
    definition = generate(settings, tmp_path, image_config=image_config)
    assert definition.notes == ("the image has no command: pass one to 'apptainer run', or set 'command'",)
    built = build_on(definition, session(place, transport))
    assert shell(transport, 'apptainer run "$1" 2>&1 || echo "$?"', built.path).splitlines()[-2:] == [
        "this image has no command; name one: apptainer run IMAGE COMMAND",
        "64",
    ]
    assert shell(transport, 'apptainer run "$1" echo a', built.path) == "a\n"


def test_an_image_without_any_shell_can_be_built_and_used_by_exec(
    lab: Lab, tmp_path: Path, place: Cluster, transport: Transport
) -> None:
    reference = make(lab, tmp_path, {**WHOLE, "Env": ["A=a b"]}, without=NO_SHELL).push(lab, "oci-tests/no-shell")
    (tmp_path / "data.txt").write_text("data\n")
    settings = ImageSettings(
        name="no-shell", source=OciSource(reference=reference), files=SETTINGS.files, environment=SETTINGS.environment
    )
    built = build_on(generate(settings, tmp_path, image_config=image_config), session(place, transport))
    line = 'apptainer exec "$1" printenv A OWN && apptainer exec "$1" cat /opt/data.txt'
    assert shell(transport, line, built.path) == "a b\nmine\ndata\n"
    assert "/bin/sh" in shell(transport, '! apptainer run "$1" 2>&1', built.path)
