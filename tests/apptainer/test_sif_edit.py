"""The header, the table and the texts of an image depend on its inputs only."""

import ast
import json
import struct
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcdeploy.apptainer import sif_edit
from hpcdeploy.apptainer.sif import read_object, read_sif
from tests.apptainer.sifs import DEFINITION, JSON, Part, partition, sif, signature, squashfs

KEY = "ab" * 32
OTHER = "cd" * 32
EPOCH = 315_532_800
DATE = b'{"data":{"attributes":{"labels":{"org.label-schema.build-date":"%s","a":"b"}}}}'


def image(date: bytes, created: int, *, swapped: bool = False, body: bytes = b"") -> bytes:
    """Return an image as Apptainer writes it: two JSON objects in any order, and the file system at a multiple of 4096."""
    texts = [
        Part(kind=JSON, name="inspect-metadata.json", content=DATE % date),
        Part(kind=JSON, name="oci-config.json", content=b"{}"),
    ]
    parts = [
        Part(kind=DEFINITION, content=b"Bootstrap: docker\nFrom: localhost:5000/x:1\n"),
        *(texts[::-1] if swapped else texts),
    ]
    used = sum(len(part.content) for part in parts)
    start = -(-(32768 + used) // 4096) * 4096
    content = squashfs() + body
    gap = start - 32768 - used
    whole = sif(
        *parts,
        Part(kind=partition(content).kind, content=b"\0" * gap + content, extra=partition(content).extra),
        created=created,
    )
    at = 4096 + len(parts) * 585 + 17
    return whole[:at] + struct.pack("<qqq", start, len(content), gap + len(content)) + whole[at + 24 :]


def normal(whole: bytes, tmp_path: Path, key: str = KEY, addresses: dict[str, str] | None = None) -> bytes:
    path = tmp_path / "x.sif"
    path.write_bytes(whole)
    sif_edit.normalise(str(path), key, EPOCH, sif_edit.rewrites_of(EPOCH, addresses or {}))
    assert list(tmp_path.iterdir()) == [path]
    return path.read_bytes()


@pytest.mark.parametrize("date", [b"Friday_1_May_2026_1:2:3_UTC", b"Wednesday_30_September_2026_11:22:33_UTC"])
@pytest.mark.parametrize("swapped", [False, True])
def test_two_builds_become_the_same_bytes(tmp_path: Path, date: bytes, swapped: bool) -> None:
    first = normal(image(b"Sunday_29_November_2026_22:39:3_UTC", 1_700_000_000), tmp_path)
    assert normal(image(date, 1_800_000_000, swapped=swapped), tmp_path) == first
    read = read_sif(BytesIO(first), "x.sif")
    assert [item.name for item in read.objects] == ["", "inspect-metadata.json", "oci-config.json", ""]
    assert (read.created, read.modified) == (EPOCH, EPOCH)
    labels = json.loads(read_object(BytesIO(first), read.objects[1], "x.sif"))["data"]["attributes"]["labels"]
    assert labels == {"org.label-schema.build-date": "Tuesday_1_January_1980_0:0:0_UTC", "a": "b"}
    [system] = read.partitions
    assert first[system.offset : system.offset + system.size] == squashfs()
    assert system.offset % 4096 == 0


def test_the_key_gives_the_uuid(tmp_path: Path) -> None:
    whole = image(b"Friday_1_May_2026_1:2:3_UTC", 5)
    first, other = normal(whole, tmp_path), normal(whole, tmp_path, OTHER)
    assert read_sif(BytesIO(first), "x").id == "abababab-abab-8bab-abab-abababababab"
    assert [at for at in range(len(first)) if first[at] != other[at]] == list(range(48, 64))


def test_a_longer_text_moves_the_file_system_to_the_next_block(tmp_path: Path) -> None:
    whole = image(b"Friday_1_May_2026_1:2:3_UTC", 1, body=b"body")
    head, start, size = _head(whole)
    filled = sif_edit.rewrites_of(EPOCH, {"localhost:5000/x:1": "ghcr.io/" + "y" * 4096 + ":1"})
    new, before = sif_edit.normalised(head, size, KEY, EPOCH, filled)
    assert before == start
    assert len(new) == start + 4096
    path = tmp_path / "x.sif"
    path.write_bytes(whole)
    path.chmod(0o640)
    sif_edit.normalise(str(path), KEY, EPOCH, filled)
    read = read_sif(BytesIO(path.read_bytes()), "x")
    [system] = read.partitions
    assert system.offset == start + 4096
    assert path.read_bytes()[system.offset :] == squashfs() + b"body"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_mirror_is_not_in_the_image(tmp_path: Path) -> None:
    found = normal(image(b"Friday_1_May_2026_1:2:3_UTC", 5), tmp_path, addresses={"localhost:5000/x:1": "ghcr.io/a/x:1"})
    assert b"localhost" not in found
    assert b"From: ghcr.io/a/x:1\n" in found
    part = normal(image(b"Friday_1_May_2026_1:2:3_UTC", 5), tmp_path, addresses={"localhost:5000/x": "ghcr.io/a/x"})
    assert b"From: localhost:5000/x:1\n" in part


def test_after_the_file_system_has_grown_all_sizes_are_right(tmp_path: Path) -> None:
    whole = normal(image(b"Friday_1_May_2026_1:2:3_UTC", 5), tmp_path)
    path = tmp_path / "x.sif"
    path.write_bytes(whole + b"n" * 8192)
    sif_edit.grow(str(path), OTHER)
    grown = path.read_bytes()
    [before], [after] = read_sif(BytesIO(whole), "x").partitions, read_sif(BytesIO(grown), "x").partitions
    assert (after.offset, after.size) == (before.offset, before.size + 8192)
    assert read_sif(BytesIO(grown), "x").id == "cdcdcdcd-cdcd-8dcd-8dcd-cdcdcdcdcdcd"
    data, length = struct.unpack_from("<qq", grown, 32 + 10 + 3 + 3 + 16 + 48)
    assert data + length == len(grown)
    assert len([at for at in range(len(whole)) if whole[at] != grown[at]]) < 16 + 3 * 8


@pytest.mark.parametrize(
    ("whole", "reason"),
    [
        (sif(partition(squashfs()), signature(b"1" * 20)), "signed"),
        (sif(partition(squashfs()), partition(squashfs(), part=4)), "2 file systems"),
        (sif(Part(kind=DEFINITION, content=b"x")), "0 file systems"),
        (sif(partition(squashfs(), system=2)), "not a primary squashfs"),
        (sif(partition(squashfs()), Part(kind=JSON, content=b"{}")), "follows its file system"),
        (sif(partition(squashfs()), magic=b"NOT_MAGIC\0"), "no SIF header"),
        (sif(partition(squashfs()), total=-1), "no SIF header"),
        (sif(partition(squashfs()), table=1 << 40), "unexpected position"),
        (
            sif(Part(kind=partition(b"").kind, content=b"", extra=partition(b"").extra, at=32768, said_size=1 << 40)),
            "bytes at",
        ),
        (b"short", "no complete header"),
    ],
)
def test_an_image_with_another_layout_is_refused_and_unchanged(tmp_path: Path, whole: bytes, reason: str) -> None:
    path = tmp_path / "x.sif"
    path.write_bytes(whole)
    with pytest.raises(sif_edit.UnfitSifError, match=reason):
        sif_edit.grow(str(path), KEY)
    with pytest.raises(sif_edit.UnfitSifError, match=reason):
        sif_edit.normalise(str(path), KEY, EPOCH, [])
    assert path.read_bytes() == whole


def test_login_nodes_with_an_old_python_can_run_the_module() -> None:
    ast.parse(Path(sif_edit.__file__).read_text(), feature_version=(3, 6))


def _head(whole: bytes) -> tuple[bytes, int, int]:
    start = sif_edit.partition_start(whole[: sif_edit.table_end(whole)], len(whole))
    return whole[:start], start, len(whole)


def test_the_time_of_the_build_is_written_as_apptainer_does() -> None:
    assert sif_edit.build_date(1_795_982_250) == "Sunday_29_November_2026_19:57:30_UTC"
    assert sif_edit.build_date(0) == "Thursday_1_January_1970_0:0:0_UTC"


@given(st.data())
def test_a_damaged_image_gives_the_known_error(data: st.DataObject) -> None:
    whole = bytearray(image(b"Friday_1_May_2026_1:2:3_UTC", 5)[:40960])
    for at in data.draw(st.lists(st.integers(0, 4096 + 4 * 585), min_size=1, max_size=8)):
        whole[at] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        sif_edit.grown(cut, 50_000, KEY)
        sif_edit.normalised(cut, 50_000, KEY, EPOCH, [])
    except sif_edit.UnfitSifError:
        pass
