"""Images that are built without Apptainer are those that Apptainer builds from the same definition, file by file."""

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from hpcdeploy.apptainer.contents import read_contents
from hpcdeploy.cluster import Cluster
from hpcdeploy.direct.flattening import remaining
from hpcdeploy.direct.squashfs import pack
from hpcdeploy.errors import DefinitionError, MissingProgramError
from hpcdeploy.flows.bases import with_keys
from hpcdeploy.flows.build import LocalBuilds, build_here, build_on
from hpcdeploy.flows.builders import choose_builder
from hpcdeploy.flows.direct_base import DirectBuild, base_image
from hpcdeploy.flows.direct_plan import DirectPlan
from hpcdeploy.flows.generate import generate
from hpcdeploy.image import ZSTD, BuiltImage, Definition, FileCopy, ImageSettings, Step
from hpcdeploy.registry.lookup import image_config
from hpcdeploy.source import OciSource, PixiSource
from hpcdeploy.transport.contract import Transport
from hpcdeploy_lab.state import Lab
from tests.builds.conftest import EXAMPLE, SETTINGS
from tests.builds.container_images import NO_BASH, Container, make
from tests.builds.test_build_on_cluster import shell
from tests.builds.test_oci_source import SETTINGS as OCI
from tests.builds.test_oci_source import WHOLE
from tests.direct.conda_channel import served
from tests.direct.layer_files import file, hard, layer, link
from tests.sessions import session
from tests.shared import OWN

MKSQUASHFS = """\
#!/bin/sh
root={root}
loader="$root/usr/lib64/ld-linux-x86-64.so.2"
exec "$loader" --library-path "$root/usr/lib/x86_64-linux-gnu" "$root/usr/bin/$(basename "$0")" "$@"
"""
TEXTS = re.compile(r"\.singularity\.d/(actions/.*|env/(01|90|95|99)-.*)")
"""Files whose text is hpcdeploy's own; what they do is compared by running them."""

DIFFERENT = {
    ".singularity.d/labels.json": "the version of Apptainer",
    "app/entrypoint.sh": "the path of pixi on the build machine",
    "app/.pixi/.gitignore": "pixi's own text",
    "app/.pixi/.condapackageignore": "pixi's own text",
}
ONLY_PIXI = {"app/.pixi/envs/gpu/conda-meta/pixi"}
"""Pixi's note on which lock file it installed; py-rattler writes none."""


@pytest.fixture(scope="module")
def tools(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lab's squashfs-tools as programs of this machine, with the lab's own C library."""
    folder = tmp_path_factory.mktemp("tools")
    for name in ("mksquashfs", "unsquashfs"):
        (folder / name).write_text(MKSQUASHFS.format(root=lab.rootfs))
        (folder / name).chmod(0o755)
    return folder


@dataclass(frozen=True)
class Both:
    """One definition, built with Apptainer and without; `paths` are the files on the lab's login node."""

    files: tuple[Path, Path]
    paths: tuple[str, str]
    built: BuiltImage


Build = Callable[[ImageSettings, Path, Definition], Both]


@pytest.fixture(scope="module")
def build(
    lab: Lab, tools: Path, place: Cluster, transport: Transport, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Build]:
    folder = tmp_path_factory.mktemp("d")
    with pytest.MonkeyPatch.context() as patch, served(folder) as home:
        patch.setenv("PATH", f"{tools}:/usr/bin:/bin")
        patch.setenv("PIXI_HOME", str(home))

        def both(settings: ImageSettings, project: Path, definition: Definition) -> Both:
            theirs = build_on(definition, session(place, transport))
            mirrors = place.mirrors
            chosen = choose_builder(
                settings, project, definition, wanted="direct", downloads=folder / "downloads", mirrors=mirrors
            )
            output = folder / f"{settings.name}.sif"
            builds = LocalBuilds(work=folder / "b", mirrors=mirrors, direct=chosen)
            ours = build_here(definition, output, builds, is_recorded=lambda _: False)
            copied = f"{place.root}/{settings.name}-direct.sif"
            real = shell(transport, f'mkdir -p "{place.root}" && printf %s "{copied}"')
            transport.put(output, real)
            apptainers = folder / f"{settings.name}-apptainer.sif"
            transport.get(theirs.path, apptainers)
            return Both(files=(apptainers, output), paths=(theirs.path, real), built=ours)

        yield both


@pytest.fixture(scope="module")
def container(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Container:
    return make(lab, tmp_path_factory.mktemp("container"), WHOLE, without=NO_BASH)


@pytest.fixture(scope="module")
def oci_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("oci")
    (folder / "data.txt").write_text("data\n")
    (folder / "tree/deep").mkdir(parents=True)
    (folder / "tree/deep/run.sh").write_text("#!/bin/sh\n")
    (folder / "tree/deep/run.sh").chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def oci(build: Build, lab: Lab, container: Container, oci_project: Path) -> Both:
    reference = container.push(lab, f"direct-tests/{OWN}")
    files = (*OCI.files, FileCopy(source="tree", destination="/opt/tree"))
    settings = replace(OCI, source=OciSource(reference=reference), setup=(), files=files)
    return build(settings, oci_project, generate(settings, oci_project, image_config=image_config))


@pytest.fixture(scope="module")
def pixi(build: Build) -> Both:
    settings = replace(SETTINGS, setup=())
    return build(settings, EXAMPLE, generate(settings, EXAMPLE))


@pytest.fixture(scope="module", params=["oci", "pixi"])
def both(request: pytest.FixtureRequest) -> Both:
    found: Both = request.getfixturevalue(request.param)
    return found


def tree(image: Path, tools: Path, folder: Path) -> dict[str, tuple[str, ...]]:
    """Return the kind and mode, owner and time, link target and checksum of each file in an image."""
    with image.open("rb") as file:
        [partition] = read_contents(file, image.name).sif.partitions
    unsquashfs = [str(tools / "unsquashfs"), "-no-progress", "-offset", str(partition.offset)]
    subprocess.run([*unsquashfs, "-dest", str(folder), "-no-xattrs", str(image)], capture_output=True, check=True)
    listed = subprocess.run([*unsquashfs, "-lln", str(image)], capture_output=True, check=True).stdout.decode()
    found: dict[str, tuple[str, ...]] = {}
    for line in listed.splitlines():
        match = re.fullmatch(r"([dlsrwxtST-]{10}) (\S+) +\d+ (\S+ \S+) squashfs-root/?(.*)", line)
        if match:
            path, _, target = match[4].partition(" -> ")
            content = (folder / path).read_bytes() if match[1].startswith("-") else b""
            # Apptainer's folders have the umask of the build; the group is root's anyway.
            mode = re.sub(r"(.{5}).(.{4})", r"\1*\2", match[1])
            found[path] = (mode, f"{match[2]} {match[3]}", target, hashlib.sha256(content).hexdigest())
    return found


def test_every_file_is_that_of_apptainer(both: Both, tools: Path, tmp_path: Path) -> None:
    theirs, ours = (tree(file, tools, tmp_path / str(number)) for number, file in enumerate(both.files))
    assert set(theirs) - set(ours) <= ONLY_PIXI
    assert set(ours) - set(theirs) == set()
    differing = {path for path in ours if ours[path][:3] != theirs[path][:3]}
    assert differing == set()
    other = {path for path in ours if ours[path][3] != theirs[path][3] and not TEXTS.fullmatch(path)}
    assert other <= set(DIFFERENT)


@pytest.fixture(scope="module")
def appended(build: Build, lab: Lab, place: Cluster, container: Container, oci_project: Path) -> Both:
    """An image with appended code, from a base image whose digest is known."""
    reference = container.push(lab, f"direct-tests/{OWN}-appended")
    files = (*OCI.files, FileCopy(source="tree", destination="/opt/tree"))
    settings = replace(OCI, name="appended", source=OciSource(reference=reference), setup=(), files=files)
    definition = generate(settings, oci_project, image_config=image_config)
    return build(settings, oci_project, with_keys(definition, ((definition.base, container.manifest.digest),)))


def test_code_is_appended_to_a_direct_environment_as_to_that_of_apptainer(
    appended: Both, container: Container, tools: Path, tmp_path: Path
) -> None:
    theirs, ours = (tree(file, tools, tmp_path / str(number)) for number, file in enumerate(appended.files))
    assert set(ours) == set(theirs)
    assert ours["opt/tree"][2] == "/.hpcdeploy.d/opt/tree"
    assert ours[".hpcdeploy.d/opt/tree/deep/run.sh"][0].startswith("-rwx")
    assert {path for path in ours if ours[path][:3] != theirs[path][:3]} == set()
    assert {path for path in ours if ours[path][3] != theirs[path][3] and not TEXTS.fullmatch(path)} <= set(DIFFERENT)
    with appended.files[1].open("rb") as opened:
        assert f"@{container.manifest.digest}" in read_contents(opened, "image").definition


def test_a_changed_line_of_code_is_appended_to_the_direct_environment(
    container: Container, tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    container.docker_archive(tmp_path / "image.tar")
    (tmp_path / "code.py").write_text("print(1)\n")
    files = (FileCopy(source="code.py", destination="/opt/code.py"),)
    settings = ImageSettings(name="line", source=OciSource(reference="docker-archive:image.tar"), files=files)
    steps: list[str] = []

    def built() -> BuiltImage:
        definition = with_keys(generate(settings, tmp_path), ())
        chosen = choose_builder(settings, tmp_path, definition, wanted=None, downloads=tmp_path / "downloads")
        builds = LocalBuilds(work=tmp_path / "cache/builds", direct=chosen)
        output, steps[:] = tmp_path / "line.sif", []
        return build_here(
            definition, output, builds, is_recorded=lambda _: True, report=lambda event: steps.append(event.text)
        )

    first = built()
    assert steps[0] == "building the environment without the code"
    assert (first.builder, first.environment != "") == ("direct", True)
    (tmp_path / "code.py").write_text("print(2)\n")
    second = built()
    assert steps == ["appending the code"]
    (tmp_path / "code.py").write_text("print(1)\n")
    assert (built().sha256, second.sha256 != first.sha256) == (first.sha256, True)


def test_inspect_says_the_same(both: Both, transport: Transport) -> None:
    def inspected(path: str) -> tuple[Mapping[str, object], str]:
        words = ("--labels", "--deffile", "--runscript", "--startscript", "--test", "--helpfile", "--json")
        attributes = json.loads(shell(transport, 'apptainer inspect "$@"', *words, path))["data"]["attributes"]
        labels = attributes.pop("labels")
        for name in ("build-date", "usage.apptainer.version", "usage.singularity.deffile.from"):
            labels.pop(f"org.label-schema.{name}", None)
        attributes["deffile"] = re.sub(r"From: .*", "", attributes["deffile"])
        return {**attributes, "labels": labels}, shell(transport, 'apptainer sif list "$1" | grep -c "|1 "', path)

    assert inspected(both.paths[0]) == inspected(both.paths[1])


VERBS = {
    "run": 'apptainer run "$1"',
    "run with words": 'apptainer run "$1" printf "<%s>" "a b" \'$HOME\' ""',
    "exec": 'apptainer exec "$1" /bin/sh -c "pwd; id -u; stat -c \\"%n %F %a %u %N\\" /* /.* /tmp /dev/null /etc/hosts"',
    "environment": 'apptainer exec "$1" env -0 | sort -z | tr "\\0" "\\n" | grep -v "_NAME=\\|_CONTAINER=\\|^PS1="',
    "clean environment": 'apptainer exec --cleanenv "$1" env -0 | sort -z | tr "\\0" "\\n" | grep -v "_NAME=\\|_CONTAINER="',
    "set variables": 'apptainer exec --env A=1,PREPEND_PATH=/first,APPEND_PATH=/last "$1" sh -c \'echo "$A $PATH"\'',
    "host's variable": 'HOST=mine DEMO_GREETING=mine apptainer exec "$1" sh -c \'echo "$HOST $DEMO_GREETING"\'',
    "shell": 'echo "pwd; echo \\"\\$PATH \\$PS1\\"" | apptainer shell --shell /bin/sh "$1" 2>/dev/null',
    "test": 'apptainer test "$1"; echo $?',
    "nv": 'apptainer exec --nv "$1" sh -c \'echo "<$LD_LIBRARY_PATH>"\' 2>/dev/null',
    "underlay": 'apptainer exec --underlay --bind /etc/hostname:/mnt/x "$1" sh -c "test -s /mnt/x; echo $?"',
    "no app": 'apptainer run --app none "$1" > /dev/null 2>&1; echo $?',
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_container_does_the_same(both: Both, transport: Transport, verb: str) -> None:
    theirs, ours = (shell(transport, f'cd "$SCRATCH/{OWN}"; {VERBS[verb]}', path) for path in both.paths)
    assert theirs == ours
    assert ours.strip()


def test_an_instance_starts_and_runs_programs(both: Both, transport: Transport) -> None:
    line = f"""
      apptainer instance start "$1" {OWN}direct "a b" >&2
      apptainer exec instance://{OWN}direct sh -c 'echo "$PATH"; test -n "$DEMO_PREFIX$OWN" && echo active'
      apptainer instance stop {OWN}direct >&2
    """
    theirs, ours = (shell(transport, line, path) for path in both.paths)
    assert theirs == ours
    assert "active" in ours


def test_the_record_names_the_builder_and_the_image_is_compressed_with_zstd(both: Both) -> None:
    assert both.built.apptainer.startswith("hpcdeploy ")
    assert "direct" in both.built.apptainer
    for image in both.files:
        with image.open("rb") as opened:
            [partition] = read_contents(opened, image.name).sif.partitions
        assert partition.compression == "zstd"


def test_what_a_layer_has_reaches_the_file_system(tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of names above 100 bytes, links to paths above 100 bytes, attributes with NUL bytes, hard links and set-id bits."""
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    capability = b"\1\0\0\2\0\x20" + bytes(14)
    attributes = {"security.capability": capability.decode(errors="surrogateescape"), "user.mine": "é"}
    special = file("bin/a", b"x", 0o6755, pax_headers={f"SCHILY.xattr.{name}": value for name, value in attributes.items()})
    long, target = "/".join(("n" * 90, "m" * 90, "é" * 60)), "/" + "t" * 150
    flattened = remaining(
        (layer(special, hard("b", "bin/a"), file(long, b"long"), link("l" * 120, target), link("é", "/é")),)
    )
    pack(partial(flattened.write, time=7), tmp_path / "image", compression=ZSTD, time=7)
    out = tmp_path / "out"
    subprocess.run([str(tools / "unsquashfs"), "-dest", str(out), str(tmp_path / "image")], capture_output=True, check=True)
    assert (out / long).read_bytes() == b"long"
    assert [str((out / name).readlink()) for name in ("l" * 120, "é")] == [target, "/é"]
    assert (out / "b").samefile(out / "bin/a")
    assert (out / "b").stat().st_mode & 0o7777 == 0o6755
    assert {name: os.getxattr(out / "b", name) for name in attributes} == {
        "security.capability": capability, "user.mine": "é".encode(),
    }  # fmt: skip


def test_a_damaged_layer_of_an_earlier_build_is_downloaded_again(lab: Lab, container: Container, tmp_path: Path) -> None:
    reference = container.push(lab, f"direct-tests/{OWN}")
    direct = DirectBuild(plan=DirectPlan(kind="docker", base=reference), downloads=tmp_path)
    for _ in range(2):
        with ExitStack() as stack:
            image, layers = base_image(direct, {}, stack)
            assert sum(1 for one in layers for _ in one.entries()) > 1000
        stored = tmp_path / "layers" / image.layers[0].digest.removeprefix("sha256:")
        with stored.open("r+b") as opened:
            opened.seek(1000)
            opened.write(b"damaged")


def test_two_builds_in_two_folders_give_the_same_bytes(
    lab: Lab, tools: Path, container: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    container.docker_archive(tmp_path / "image.tar")
    settings = ImageSettings(name="archive", source=OciSource(reference="docker-archive:image.tar"), compression="gzip")
    definition = generate(settings, tmp_path)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    digests = set()
    for name, umask, zone in (("a", 0o077, "UTC"), ("b", 0o002, "Asia/Tokyo")):
        monkeypatch.setenv("TZ", zone)
        chosen = choose_builder(settings, tmp_path, definition, wanted=None, downloads=tmp_path / "downloads")
        assert chosen is not None
        assert chosen.note.endswith("the result is the same")
        old = os.umask(umask)
        try:
            builds = LocalBuilds(work=tmp_path / name / "work", direct=chosen)
            output = tmp_path / name / "image.sif"
            built = build_here(definition, output, builds, is_recorded=lambda _: False)
        finally:
            os.umask(old)
        digests.add(built.sha256)
        with output.open("rb") as opened:
            assert read_contents(opened, "image").sif.partitions[0].compression == "gzip"
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["image.json", "image.sif", "verified", "work"]
        assert output.stat().st_mode & 0o777 == 0o755
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"setup": (Step(run="true"),)}, "'setup' has 1 steps that must run in the image"),
        ({"source": PixiSource(environment="gpu", secrets=("X",))}, "secrets"),
        ({"setup": (), "final_base": "/base.sif"}, "not a Docker or OCI image"),
    ],
    ids=["setup", "secrets", "base"],
)
def test_what_only_apptainer_can_build_is_refused_by_name(change: dict[str, object], reason: str, tmp_path: Path) -> None:
    settings = replace(SETTINGS, **change)  # type: ignore[arg-type]  # each change fits its field
    definition = generate(replace(SETTINGS, setup=()), EXAMPLE)
    with pytest.raises(DefinitionError, match=re.escape(reason)):
        choose_builder(settings, EXAMPLE, definition, wanted="direct", downloads=tmp_path)
    with pytest.raises(MissingProgramError, match="cannot be built without it"):
        choose_builder(settings, EXAMPLE, definition, wanted=None, downloads=tmp_path)


CONTAINER_UNIVERSE = """
cd "$SCRATCH/{own}"
cat > direct.sub <<END
universe = container
container_image = $1
executable = /app/.pixi/envs/gpu/bin/hpcdeploy-demo
transfer_executable = false
should_transfer_files = YES
output = direct.out
error = direct.err
log = direct.log
request_memory = 100
queue
END
rm -f direct.out direct.err direct.log
condor_submit direct.sub >&2
condor_wait -wait 120 direct.log >&2
cat direct.out direct.err
"""


@pytest.mark.usefixtures("htcondor")
def test_htcondor_s_container_universe_runs_the_same(pixi: Both, transport: Transport) -> None:
    theirs, ours = (shell(transport, CONTAINER_UNIVERSE.format(own=OWN), path) for path in pixi.paths)
    assert theirs == ours
    assert "installed in /app/.pixi/envs/gpu\nactivated by: hpcdeploy-demo-activation 1.0.0\n" in ours
