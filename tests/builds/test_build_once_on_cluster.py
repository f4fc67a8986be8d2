"""On a login node too, one key has one build, a damaged image is never used, and downloads stay outside of the image."""

from dataclasses import replace

import pytest

from hpcdeploy.apptainer.build_progress import UNCHANGED, BuildEvent
from hpcdeploy.apptainer.build_script import NORMAL, Repeating
from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import BuildError
from hpcdeploy.flows.bases import find_bases, with_keys
from hpcdeploy.flows.build import build_on
from hpcdeploy.image import BuiltImage, Definition
from hpcdeploy.registry.lookup import digest_by
from hpcdeploy.transport.contract import Transport
from tests.builds.conftest import Quick
from tests.sessions import session

KEEPING = Repeating(downloads="d" * 32, project="/project")
NOTES = """
[ -z "${HPCDEPLOY_DOWNLOADS-}" ] || {
    echo "PIP ${PIP_CACHE_DIR#"$HPCDEPLOY_DOWNLOADS"} UV ${UV_CACHE_DIR#"$HPCDEPLOY_DOWNLOADS"}"
    echo "RATTLER ${RATTLER_CACHE_DIR#"$HPCDEPLOY_DOWNLOADS"}"
    mkdir -p "$PIP_CACHE_DIR"
    cat "$APT_CONFIG"
    ls "$PIP_CACHE_DIR" | sed 's/^/kept: /'
    echo downloaded > "$PIP_CACHE_DIR/wheel-$1"
}
"""


def shell(transport: Transport, script: str, *words: str) -> str:
    done = transport.run(["bash", "-c", script, "shell", *words])
    assert done.exit_code == 0, done.stderr.decode()
    return done.stdout.decode()


def keyed(definition: Definition, cluster: Cluster) -> Definition:
    bases = find_bases(definition, digest_by(cluster.mirrors), before={}, here=False)
    assert all(digest.startswith("sha256:") for _, digest in bases.digests)
    return with_keys(definition, bases.digests, machine="x86_64")


def build(
    definition: Definition, cluster: Cluster, transport: Transport, repeating: Repeating = NORMAL
) -> tuple[BuiltImage, list[str], list[str]]:
    """Build, and return the image, the steps and the other lines."""
    events: list[BuildEvent] = []
    image = build_on(definition, session(cluster, transport), repeating=repeating, report=events.append)
    return (
        image,
        [event.text for event in events if event.is_step],
        [event.text for event in events if not event.is_step],
    )


def test_the_base_is_a_digest_and_the_record_has_keys_and_tools(quick: Quick, place: Cluster, transport: Transport) -> None:
    definition = keyed(quick("keys"), place)
    [(source, digest)] = definition.bases
    image, _, _ = build(definition, place, transport)
    assert (image.inputs, image.environment, image.builder) == (definition.inputs, definition.environment, "apptainer")
    assert [name for name, _ in image.tools] == ["hpcdeploy", "mksquashfs"]
    assert f"@{digest}" in shell(transport, 'apptainer inspect -d "$1"', image.path)
    assert source not in shell(transport, 'apptainer inspect -d "$1"', image.path)
    again, steps, _ = build(definition, place, transport)
    assert (again, steps) == (image, [UNCHANGED])


def test_other_tools_count_only_with_exact_tools(quick: Quick, place: Cluster, transport: Transport) -> None:
    definition = keyed(quick("keys"), place)
    image, _, _ = build(definition, place, transport)
    exact = Repeating(exact_tools=True)
    assert build(definition, place, transport, exact)[1] == [UNCHANGED]
    shell(transport, """sed -i 's/"mksquashfs", "[^"]*"/"mksquashfs", "1.0"/' "${1%.sif}.json" """, image.path)
    assert build(definition, place, transport)[1] == [UNCHANGED]
    assert any("built with other tools" in step for step in build(definition, place, transport, exact)[1])


@pytest.mark.parametrize("damage", ["truncate -s 4096", "truncate -s +1", "shred -n 1 -s 64"])
def test_a_damaged_image_is_moved_aside_and_built_again(
    quick: Quick, place: Cluster, transport: Transport, damage: str
) -> None:
    definition = keyed(quick("damaged"), place)
    image, _, _ = build(definition, place, transport)
    assert build(definition, place, transport)[1] == [UNCHANGED]
    shell(transport, f'times=$(stat -c %y -- "$1"); {damage} "$1"; touch -d "$times" -- "$1"', image.path)
    rebuilt, steps, _ = build(definition, place, transport)
    assert any("was damaged; it was moved to" in step for step in steps)
    assert shell(transport, 'sha256sum <"$1"', rebuilt.path).split()[0] == rebuilt.sha256
    assert f"{image.sha256}.sif" in shell(transport, 'ls "${1%/*}/damaged"', image.path)


def test_a_build_of_a_release_without_keys_is_found(quick: Quick, place: Cluster, transport: Transport) -> None:
    plain = quick("former")
    image, _, _ = build(plain, place, transport)
    found, steps, _ = build(keyed(plain, place), place, transport)
    assert (found, steps) == (image, [UNCHANGED])


def mounted(place: Cluster, transport: Transport) -> bool:
    """Tell whether the folder in which the last build saw its downloads still exists."""
    configuration = f"{place.root}/downloads/{KEEPING.downloads}/files/apt.conf"
    found = f"""path=$(sed -n 's|^Dir::Cache::archives "\\(/tmp/hpcdeploy-[^/]*\\)/apt/".*|\\1|p' {configuration})"""
    listed = shell(transport, f'{found} && [ -n "$path" ] && ls -d "$path" 2>&1 || true')
    assert "/tmp/hpcdeploy-" in listed
    return "No such file" not in listed


def test_downloads_are_kept_for_the_next_build_and_are_not_in_the_image(
    quick: Quick, place: Cluster, transport: Transport
) -> None:
    first, _, lines = build(quick("downloads-1", post=f"set -- 1\n{NOTES}"), place, transport, KEEPING)
    assert {"PIP /pip UV /uv", "RATTLER /conda"} <= set(lines)
    assert not any(line.startswith("kept:") for line in lines)
    assert any(line.startswith('Dir::Cache::archives "/tmp/hpcdeploy-') for line in lines)
    second, _, lines = build(quick("downloads-2", post=f"set -- 2\n{NOTES}"), place, transport, KEEPING)
    assert "kept: wheel-1" in lines
    for image in (first, second):
        listed = shell(
            transport, 'apptainer exec --no-mount tmp "$1" find / -xdev -name "wheel-*" -o -path "/tmp/*"', image.path
        )
        assert listed == ""
    assert shell(transport, f"ls {place.root}/downloads/{KEEPING.downloads}/files/pip").split() == ["wheel-1", "wheel-2"]
    assert not mounted(place, transport)


def test_a_failed_build_keeps_its_downloads(quick: Quick, place: Cluster, transport: Transport) -> None:
    with pytest.raises(BuildError):
        build(quick("downloads-3", post=f"set -- 3\n{NOTES}\nfalse"), place, transport, KEEPING)
    assert "wheel-3" in shell(transport, f"ls {place.root}/downloads/{KEEPING.downloads}/files/pip").split()
    assert not mounted(place, transport)


def test_downloads_that_another_build_uses_are_left_alone(quick: Quick, place: Cluster, transport: Transport) -> None:
    folder = f"{place.root}/downloads/{'e' * 32}"
    shell(transport, f"mkdir -p {folder}; flock {folder}/lock sleep 60 >/dev/null 2>&1 & echo")
    definition = quick("downloads-4", post=NOTES)
    _, steps, lines = build(definition, place, transport, replace(KEEPING, downloads="e" * 32))
    assert any("another build of this image uses them" in step for step in steps)
    assert not any(line.startswith("PIP") for line in lines)
