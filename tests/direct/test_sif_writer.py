"""The SIF that is written without Apptainer is read back whole, and depends on nothing but its arguments."""

import io
import json
from pathlib import Path

import pytest

from hpcdeploy.apptainer.sif import read_object, read_sif
from hpcdeploy.direct.sif_writer import JsonObject, write_sif

DEFINITION = b"Bootstrap: docker\nFrom: example.org/a:b\n"


def write(tmp_path: Path, name: str, *, key: str = "key", time: int = 0) -> bytes:
    partition = tmp_path / "partition"
    partition.write_bytes(b"hsqs" + bytes(16) + b"\x06\0" + bytes(5000))
    path = tmp_path / name
    with path.open("wb") as out:
        metadata = JsonObject(name="inspect-metadata.json", content=json.dumps({"é": 1}).encode())
        write_sif(out, partition, definition=DEFINITION, objects=(metadata,), key=key, time=time)
    return path.read_bytes()


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    content = write(tmp_path, "a.sif", time=86400)
    file = io.BytesIO(content)
    sif = read_sif(file, "a.sif")
    assert (sif.architecture, sif.created, sif.modified, sif.size) == ("amd64", 86400, 86400, len(content))
    assert [(one.kind, one.name) for one in sif.objects] == [
        ("definition", ""), ("json", "inspect-metadata.json"), ("partition", ""),
    ]  # fmt: skip
    assert read_object(file, sif.objects[0], "a.sif") == DEFINITION
    [partition] = sif.partitions
    assert partition.offset % 4096 == 0
    assert (partition.part_type, partition.compression) == ("primary system", "zstd")
    assert content[partition.offset :] == (tmp_path / "partition").read_bytes()


@pytest.mark.parametrize("change", [{"key": "other"}, {"time": 1}])
def test_equal_arguments_give_equal_bytes_and_others_do_not(tmp_path: Path, change: dict[str, object]) -> None:
    assert write(tmp_path, "a.sif") == write(tmp_path, "b.sif")
    assert write(tmp_path, "a.sif") != write(tmp_path, "b.sif", **change)  # type: ignore[arg-type]
