"""Builds on the lab's login node, with the real Apptainer, over SSH."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.apptainer.build_progress import BuildEvent
from hpcdeploy.apptainer.build_record import read_record, record_path
from hpcdeploy.apptainer.build_script import Repeating
from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import BuildError, MissingProgramError, TransportError
from hpcdeploy.flows.build import build_on, fetch_built
from hpcdeploy.flows.generate import generate
from hpcdeploy.image import BuiltImage
from hpcdeploy.transport.connect import open_transport
from hpcdeploy.transport.contract import Transport
from hpcdeploy.whole_file import sha256_of
from tests.builds.conftest import EXAMPLE, SETTINGS, Quick
from tests.sessions import session
from tests.shared import OWN

ROOT = f"/scratch/lab/{OWN}/builds"
PAUSE = f"/tmp/{OWN}-pause"
SHOW = 'printf "%s\\n" "$(hpcdeploy-demo | head -1)" "$CONDA_PREFIX" "$DEMO_ACTIVATED" "$CONDA_OVERRIDE_CUDA" "$AWKWARD"'
SHOWN = (
    "hpcdeploy-demo 1.2.0, installed in /app/.pixi/envs/gpu\n/app/.pixi/envs/gpu\nhpcdeploy-demo-activation 1.0.0\n12\n"
    + dict(SETTINGS.environment)["AWKWARD"]
    + "\n"
)


def shell(transport: Transport, line: str, *words: str) -> str:
    done = transport.run(["bash", "-c", line, "bash", *words])
    assert done.exit_code == 0, (line, done.stdout.decode(), done.stderr.decode())
    return done.stdout.decode()


def left_over(transport: Transport) -> str:
    find = f"find {ROOT} -name context -o -name '*.part' -o -path '{ROOT}/tmp/*' -prune"
    return shell(transport, find)


@pytest.mark.parametrize(
    "start",
    [
        'apptainer run "$1" sh -c "$2"',
        'apptainer exec "$1" sh -c "$2"',
        'apptainer exec "$1" bash -c "$2"',
        'apptainer exec --cleanenv "$1" sh -c "$2"',
        'apptainer shell "$1" <<<"$2"',
        'apptainer instance start "$1" $3 >&2; apptainer exec "instance://$3" sh -c "$2"; apptainer instance stop $3 >&2',
        'home=$(mktemp -d) && apptainer exec --contain --home "$home" "$1" sh -c "$2"; rm -r "$home"',
    ],
    ids=["run", "exec sh", "exec bash", "exec cleanenv", "shell", "instance", "contain, as HTCondor starts it"],
)
def test_the_environment_is_active_however_the_container_is_started(
    built: BuiltImage, transport: Transport, start: str
) -> None:
    assert shell(transport, start, built.path, SHOW, OWN) == SHOWN


def test_the_command_runs_when_there_are_no_words_and_words_replace_it(built: BuiltImage, transport: Transport) -> None:
    assert shell(transport, 'apptainer run "$1"', built.path) == "<no words><><it's $HOME>"
    assert shell(transport, 'apptainer run "$1" "${@:2}"', built.path, "printf", "<%s>", "a  b", "", "$x") == "<a  b><><$x>"


def test_an_image_in_which_no_program_begins_is_no_build_though_its_test_passes(
    cluster: Cluster, transport: Transport, quick: Quick
) -> None:
    definition = quick("ends-first", post='echo "exit 0" >>"$APPTAINER_ENVIRONMENT"', test="false")
    with pytest.raises(BuildError, match=r"no program starts in this image.*\n.*environment script runs 'exit 0'"):
        build_on(definition, session(cluster, transport))
    assert left_over(transport) == ""


def test_nothing_of_the_host_reaches_in(built: BuiltImage, transport: Transport) -> None:
    line = """
      export PYTHONPATH=/leak PYTHONHOME=/leak PYTHONSTARTUP=/leak PERL5LIB=/leak R_LIBS=/leak
      mkdir -p ~/.local/lib/python3.13/site-packages
      BASH_ENV=/leak apptainer exec "$1" bash -c 'echo "$PYTHONPATH$PYTHONHOME$PYTHONSTARTUP$PERL5LIB$R_LIBS$BASH_ENV."'
      apptainer exec "$1" python3 -c 'import site, sys; print(site.ENABLE_USER_SITE, [p for p in sys.path if ".local" in p])'
      rm -r ~/.local/lib/python3.13
      apptainer exec --env PYTHONPATH=/wanted "$1" sh -c 'echo "$PYTHONPATH"'
    """
    assert shell(transport, line, built.path).splitlines() == [".", "False []", "/wanted"]


def test_no_cache_and_no_private_folder_is_in_the_image(built: BuiltImage, transport: Transport) -> None:
    line = 'apptainer exec --no-home "$1" find /app /root -maxdepth 2'
    found = shell(transport, line, built.path).split()
    assert "/app/.pixi/envs" in found
    assert not [path for path in found if "cache" in path or "hpcdeploy" in path or path.startswith("/root/.pixi")]


def test_everybody_may_read_all_of_the_workspace(built: BuiltImage, transport: Transport) -> None:
    line = 'apptainer exec "$1" find /app ! -type l \\( -type d ! -perm -0555 -o -type f ! -perm -0444 \\)'
    assert shell(transport, line, built.path) == ""


def test_setup_ran_with_the_environment_active(built: BuiltImage, transport: Transport) -> None:
    assert "installed in /app/.pixi/envs/gpu" in shell(transport, 'apptainer exec "$1" cat /app/said-in-setup', built.path)


def test_labels_say_what_is_inside_and_win_over_the_base_image_s(built: BuiltImage, transport: Transport) -> None:
    labels = shell(transport, 'apptainer inspect "$1"', built.path).splitlines()
    for line in (
        "io.github.hpcdeploy.environment: gpu",
        "io.github.hpcdeploy.cuda: 12",
        f"io.github.hpcdeploy.lock: sha256:{sha256_of(EXAMPLE / 'pixi.lock')}",
        "org.opencontainers.image.title: the example",
    ):
        assert line in labels


def test_the_image_is_in_the_cluster_s_cache_under_its_digest_with_its_record(
    built: BuiltImage, transport: Transport
) -> None:
    assert built.path == f"{ROOT}/images/{built.sha256}.sif"
    assert built.inputs == generate(SETTINGS, EXAMPLE).inputs
    assert built.built_on == "lab"
    assert "apptainer version 1." in built.apptainer
    line = 'sha256sum < "$1"; stat -c %s "$1"; cat "${1%.sif}.json"'
    digest, size, record = shell(transport, line, built.path).splitlines()
    assert (digest.split()[0], int(size)) == (built.sha256, built.size)
    assert f'"inputs": "{built.inputs}"' in record
    assert left_over(transport) == ""


def test_the_same_inputs_are_not_built_again(built: BuiltImage, cluster: Cluster, transport: Transport) -> None:
    events: list[BuildEvent] = []
    assert build_on(generate(SETTINGS, EXAMPLE), session(cluster, transport), report=events.append) == built
    assert not any(event.text == "starting" for event in events)


def test_a_fetched_image_is_checked_and_has_its_record_beside_it(
    built: BuiltImage, cluster: Cluster, transport: Transport, tmp_path: Path
) -> None:
    fetched = fetch_built(built, session(cluster, transport), tmp_path / "example.sif", tmp_path / "notes")
    assert sha256_of(tmp_path / "example.sif") == built.sha256
    assert read_record(tmp_path / "example.sif") == replace(fetched, cached_on="")
    assert fetched.cached_on == cluster.name
    with pytest.raises(TransportError, match="is damaged"):
        fetch_built(replace(built, sha256="0" * 64), session(cluster, transport), tmp_path / "other.sif", tmp_path / "notes")
    (tmp_path / "notes").rmdir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["example.json", "example.sif"]
    record_path(tmp_path / "example.sif").write_text("{")
    with pytest.raises(BuildError, match="is not the record of an image"):
        read_record(tmp_path / "example.sif")


def test_a_failing_test_fails_the_build_and_leaves_no_image(quick: Quick, cluster: Cluster, transport: Transport) -> None:
    before = shell(transport, f"ls {ROOT}/images 2>/dev/null; true")
    with pytest.raises(BuildError) as caught:
        build_on(quick("failing-test", test="echo no such library >&2\nfalse"), session(cluster, transport))
    assert "no such library" in str(caught.value)
    assert "Probable cause: the image's own test failed" in str(caught.value)
    assert shell(transport, f"ls {ROOT}/images") == before
    assert left_over(transport) == ""


def test_a_failing_line_in_the_middle_of_post_fails_the_build(quick: Quick, cluster: Cluster, transport: Transport) -> None:
    with pytest.raises(BuildError, match="about to fail"):
        build_on(quick("failing-post", post="echo about to fail\nfalse\necho not reached"), session(cluster, transport))


def test_two_builds_at_once_of_the_same_inputs_build_once(quick: Quick, cluster: Cluster, transport: Transport) -> None:
    definition = quick("twice")
    events: list[BuildEvent] = []
    images: list[BuiltImage] = []

    def build() -> None:
        with open_transport(cluster) as own:
            images.append(build_on(definition, session(cluster, own), report=events.append))

    threads = [threading.Thread(target=build) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(images) == 2
    assert images[0] == images[1]
    assert sum(event.text == "starting" for event in events) == 1


def test_what_a_killed_build_left_is_gone_after_the_next(quick: Quick, cluster: Cluster, transport: Transport) -> None:
    definition = quick("killed", post=f"while [ -e {PAUSE} ]; do sleep 0.2; done")
    noted = replace(cluster, setup=(f'mkdir -p {ROOT} && echo "$$" > {ROOT}/pid',))
    shell(transport, f"touch {PAUSE}")
    running = threading.Event()

    def watch(event: BuildEvent) -> None:
        if event.text == "running %post":
            running.set()

    def build() -> None:
        with open_transport(cluster) as own, pytest.raises((BuildError, TransportError)):
            build_on(definition, session(noted, own), report=watch)

    thread = threading.Thread(target=build)
    thread.start()
    assert running.wait(120)
    # The script and Apptainer with it, in the session that sshd made for them; what is inside the container ends by itself.
    shell(transport, f'kill -KILL -- "-$(ps -o pgid= "$(cat {ROOT}/pid)" | tr -d " ")"; rm {PAUSE}')
    thread.join(120)
    assert not thread.is_alive()
    assert left_over(transport) != ""
    image = build_on(definition, session(cluster, transport))
    assert shell(transport, 'apptainer exec "$1" echo fine', image.path) == "fine\n"
    assert left_over(transport) == ""


def test_force_builds_again(quick: Quick, cluster: Cluster, transport: Transport) -> None:
    definition = quick("twice")
    events: list[BuildEvent] = []
    image = build_on(definition, session(cluster, transport), repeating=Repeating(force=True), report=events.append)
    assert image.inputs == definition.inputs
    assert any(event.text == "starting" for event in events)


def test_build_arguments_reach_apptainer(cluster: Cluster, transport: Transport, quick: Quick, project: Path) -> None:
    quick("arguments")
    template = project / "defs/pixi.def"
    text = template.read_text().replace(": arguments", "echo '{{ WORDS }}' > /said")
    template.write_text(text.replace("    CUDA_VERSION=12\n", "    CUDA_VERSION=12\n    WORDS=default\n"))
    settings = replace(SETTINGS, name="arguments", files=(), build_args=(("WORDS", "default"),))
    definition = generate(settings, project, build_args=(("WORDS", 'a  b $HOME,MODE=debug "q"'),))
    image = build_on(definition, session(cluster, transport))
    assert shell(transport, 'apptainer exec "$1" cat /said', image.path) == 'a  b $HOME,MODE=debug "q"\n'


def test_an_unset_variable_in_the_root_is_named(quick: Quick, cluster: Cluster, transport: Transport) -> None:
    with pytest.raises(BuildError, match="NOWHERE_AT_ALL: is not set on this machine"):
        build_on(quick("x"), session(replace(cluster, root="$NOWHERE_AT_ALL/x"), transport))


@pytest.mark.parametrize("name", ["a(b", "it's", "a,b", "a #b"])
def test_a_root_in_which_apptainer_cannot_build_is_refused(
    name: str, quick: Quick, cluster: Cluster, transport: Transport
) -> None:
    with pytest.raises(BuildError, match=r"Apptainer cannot build in .*could not inspect container.*set tmp in the cluster"):
        build_on(quick("x"), session(replace(cluster, root=f"{cluster.root}/{name}"), transport))
    there = replace(cluster, root=f"{cluster.root}/{name}", tmp=f"{cluster.root}/tmp")
    assert build_on(quick("x"), session(there, transport)).path.startswith(f"{ROOT}/{name}/images/")


def test_a_program_that_is_not_there_says_where_it_could_come_from(
    quick: Quick, cluster: Cluster, transport: Transport
) -> None:
    with pytest.raises(MissingProgramError, match=r"no-such-apptainer is not on this machine's PATH.*module load"):
        build_on(quick("x"), session(replace(cluster, apptainer="no-such-apptainer"), transport))


def test_setup_lines_run_first(quick: Quick, cluster: Cluster, transport: Transport) -> None:
    found = replace(cluster, setup=('site() { apptainer "$@"; }',), apptainer="site")
    with pytest.raises(BuildError, match="told by the site"):
        build_on(quick("setup"), session(replace(found, setup=("echo 'error: told by the site' >&2; exit 10",)), transport))
    assert build_on(quick("twice"), session(found, transport)).name == "twice"
