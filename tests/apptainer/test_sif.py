import json
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcdeploy.apptainer.contents import read_contents
from hpcdeploy.apptainer.sif import READ_LIMIT, read_sif
from hpcdeploy.errors import ConfigError
from tests.apptainer.sifs import DATA, DEFINITION, JSON, LABELS, PARTITION, Part, partition, sif, signature, squashfs

DEFINED = Part(kind=DEFINITION, content=b"Bootstrap: docker\nFrom: debian\n\n%test\n    true\n\n%runscript\n    exec date\n")
ATTRIBUTES = {
    "labels": {"b": "2", "a": "1"},
    "test": "#!/bin/sh\nfalse",
    "runscript": "#!/bin/sh\nexec ls",
    "startscript": "#!/bin/sh\nexec serve",
    "helpfile": "ask",
    "environment": {"/.singularity.d/env/90-environment.sh": "export A=1"},
    "apps": {"foo": {}},
}
METADATA = Part(kind=JSON, name="inspect-metadata.json", content=json.dumps({"data": {"attributes": ATTRIBUTES}}).encode())
WHOLE = sif(DEFINED, METADATA, partition(squashfs()), partition(squashfs(1), part=4), signature(bytes(range(1, 21))))


def test_header_and_objects_are_read() -> None:
    image = read_sif(BytesIO(WHOLE), "x.sif")
    assert (image.version, image.architecture, image.created, image.size) == ("01", "amd64", 1_700_000_000, len(WHOLE))
    assert image.id == "00010203-0405-0607-0809-0a0b0c0d0e0f"
    assert [item.kind for item in image.objects] == ["definition", "json", "partition", "partition", "signature"]
    primary, overlay = image.partitions
    assert (primary.file_system, primary.part_type, primary.architecture) == ("squashfs", "primary system", "amd64")
    assert (primary.compression, overlay.compression, overlay.part_type) == ("zstd", "gzip", "overlay")
    [signed] = image.signatures
    assert (signed.hash, signed.link, signed.links_group) == ("SHA-256", 1, True)
    assert signed.signer == bytes(range(1, 21)).hex()


def test_what_apptainer_noted_at_build_time_is_found() -> None:
    contents = read_contents(BytesIO(WHOLE), "x.sif")
    assert contents.definition == DEFINED.content.decode()
    assert contents.labels == {"a": "1", "b": "2"}
    assert contents.test == "#!/bin/sh\nfalse"
    assert contents.runscript == "#!/bin/sh\nexec ls"
    assert contents.startscript == "#!/bin/sh\nexec serve"
    assert contents.help == "ask"
    assert contents.environment == {"/.singularity.d/env/90-environment.sh": "export A=1"}
    assert contents.apps == ("foo",)


def test_an_old_image_has_its_labels_apart_and_its_scripts_in_the_definition() -> None:
    contents = read_contents(BytesIO(sif(DEFINED, Part(kind=LABELS, content=b'{"a": "1"}\0'))), "x.sif")
    assert contents.labels == {"a": "1"}
    assert (contents.test, contents.runscript) == ("true", "exec date")


def test_the_configuration_of_an_oci_base_is_kept_as_it_was() -> None:
    config = {"Cmd": ["/bin/bash"], "Env": ["A=1"]}
    contents = read_contents(BytesIO(sif(Part(kind=JSON, name="oci-config.json", content=json.dumps(config).encode()))), "x")
    assert contents.oci == config


def test_what_is_not_known_is_shown_as_it_came() -> None:
    image = read_sif(
        BytesIO(sif(Part(kind=0x4FFF, content=b""), partition(b"x", system=9, part=8, architecture=b"99\0"))), "x"
    )
    strange, other = image.objects
    assert strange.kind == "unknown (0x4fff)"
    assert (other.file_system, other.part_type, other.architecture) == ("unknown (0x9)", "unknown (0x8)", "unknown")


def test_a_squashfs_without_its_superblock_has_no_compression_to_tell() -> None:
    [item] = read_sif(BytesIO(sif(partition(b"hs"))), "x").objects
    assert item.compression == ""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not an Apptainer image"),
        (b"PK\3\4" * 100, "not an Apptainer image"),
        (WHOLE[:41], "not an Apptainer image"),
        (WHOLE[:100], "header ends after 100 bytes"),
        (WHOLE[:5000], "48 objects at byte 4096 does not fit"),
        (WHOLE[:-1], "the file ends at"),
        (sif(version=b"02\0"), "version 02"),
        (sif(magic=b"SIF_MAGIX\0"), "not an Apptainer image"),
        (sif(total=-1), "-1 objects"),
        (sif(total=2**62), "does not fit"),
        (sif(table=-5), "byte -5"),
        (sif(Part(kind=PARTITION, content=b"x", at=-1)), "at offset -1"),
        (sif(Part(kind=PARTITION, content=b"x", said_size=-1)), "-1 bytes"),
        (sif(Part(kind=DEFINITION, content=b"x", said_size=2**63 - 1)), "the file ends at"),
        (sif(Part(kind=JSON, name="oci-config.json", content=b"{")), "not JSON"),
        (sif(Part(kind=JSON, name="inspect-metadata.json", content=b"[" * 100_000)), "not JSON"),
        (sif(Part(kind=DEFINITION, content=bytes(READ_LIMIT + 1))), "a short text was expected"),
    ],
)
def test_a_file_that_is_none_or_lies_is_refused_by_name(content: bytes, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        read_contents(BytesIO(content), "some.sif")
    assert str(caught.value).startswith("some.sif ")


@given(
    st.lists(st.tuples(st.integers(0, DATA + 4000), st.binary(min_size=1, max_size=9)), max_size=8),
    st.integers(0, len(WHOLE)),
)
def test_damage_anywhere_gives_contents_or_the_one_error(patches: list[tuple[int, bytes]], end: int) -> None:
    damaged = bytearray(WHOLE)
    for place, patch in patches:
        damaged[place : place + len(patch)] = patch
    for content in (bytes(damaged), bytes(damaged[:end])):
        try:
            contents = read_contents(BytesIO(content), "x.sif")
        except ConfigError:
            continue
        assert all(0 <= item.offset <= item.offset + item.size <= len(content) for item in contents.sif.objects)


@given(
    st.lists(
        st.builds(
            Part, kind=st.sampled_from([0x4002, 0x4007]), content=st.binary(max_size=50), name=st.text("abc", max_size=9)
        )
    )
)
def test_every_object_written_is_read_back(parts: list[Part]) -> None:
    image = read_sif(BytesIO(sif(*parts[:48])), "x.sif")
    assert [(item.name, item.size) for item in image.objects] == [(part.name, len(part.content)) for part in parts[:48]]
