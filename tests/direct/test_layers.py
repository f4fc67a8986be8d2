"""Layers are flattened as the OCI image specification says, and hostile ones are refused."""

import io
import struct
import tarfile
from itertools import pairwise

import pytest

from hpcdeploy.direct import layers, tree
from hpcdeploy.direct.entries import OwnLayer, text_entry
from hpcdeploy.direct.flattening import remaining
from hpcdeploy.direct.layers import TarLayer
from hpcdeploy.errors import BuildError
from hpcdeploy.image import EPOCH
from tests.direct.layer_files import Member, device, digest, file, folder, hard, layer, link, tar, written


def names(*applied: TarLayer) -> list[str]:
    return sorted(name for name in written(remaining(applied)) if name not in (".", ""))


def test_a_whiteout_hides_a_name_of_a_lower_layer_only() -> None:
    lower = layer(folder("a"), file("a/old"), file("a/kept"))
    upper = layer(file("a/.wh.old"), file("a/new"), file(".wh.nothing"))
    assert names(lower, upper) == ["a", "a/kept", "a/new"]


@pytest.mark.parametrize("first", [True, False])
def test_an_opaque_folder_hides_the_lower_content_wherever_its_entry_stands(first: bool) -> None:
    opaque = file("a/.wh..wh..opq")
    new = [folder("a", 0o700), file("a/new"), folder("a/deep"), file("a/deep/new")]
    upper = [opaque, *new] if first else [*new, opaque]
    lower = layer(folder("a"), file("a/old"), folder("a/deep"), file("a/deep/old"), folder("a/gone"), file("a/gone/x"))
    assert names(lower, layer(*upper)) == ["a", "a/deep", "a/deep/new", "a/new"]


def test_a_whited_out_folder_keeps_what_the_same_layer_adds() -> None:
    assert names(layer(folder("a"), file("a/old")), layer(folder("a"), file("a/new"), file(".wh.a"))) == ["a", "a/new"]


def test_a_folder_keeps_its_content_when_a_layer_names_it_again_and_loses_it_to_a_file() -> None:
    lower = layer(folder("a"), file("a/x"), folder("b"), file("b/x"))
    flattened = written(remaining((lower, layer(folder("a", 0o500), file("b", b"now a file")))))
    assert flattened["a"][0].mode == 0o500
    assert "a/x" in flattened
    assert flattened["b"][1] == b"now a file"
    assert "b/x" not in flattened


def test_a_hard_link_across_layers_keeps_its_content_when_the_first_name_changes_or_goes() -> None:
    lower = layer(file("one", b"shared"), file("two", b"other"))
    upper = layer(hard("one-again", "one"), hard("./two-again", "/two"), file("two", b"changed"))
    flattened = written(remaining((lower, upper, layer(file(".wh.one")))))
    assert {name: content for name, (_, content) in flattened.items() if name} == {
        ".": b"", "one-again": b"shared", "two": b"changed", "two-again": b"other",
    }  # fmt: skip


def test_hard_links_of_one_file_stay_links() -> None:
    flattened = written(remaining((layer(file("x/b", b"same"), hard("a", "x/b"), hard("c", "a")),)))
    kinds = {name: info.type for name, (info, _) in flattened.items() if name in ("a", "c", "x/b")}
    assert sorted(kinds.values()) == [tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.LNKTYPE]
    assert {content for name, (_, content) in flattened.items() if name in kinds} == {b"same"}


def test_an_entry_behind_a_link_goes_where_the_link_leads_inside_the_image() -> None:
    lower = layer(folder("usr/lib"), link("lib", "usr/lib"), link("out", "/../../usr"), link("up", "../../../usr"))
    found = names(lower, layer(file("lib/a"), file("out/b"), file("up/c")))
    assert found == ["lib", "out", "up", "usr", "usr/b", "usr/c", "usr/lib", "usr/lib/a"]


def test_long_and_odd_names_modes_times_and_attributes_arrive() -> None:
    long = "/".join(["n" * 200] * 6)
    odd = "caf\udce9/ with\nbreak\\ é"
    special = file("suid", b"x", 0o6755, pax_headers={"SCHILY.xattr.security.capability": "\udcff\x01", "mtime": "7.5"})
    flattened = written(remaining((layer(file(long), file(odd, b"odd"), special, folder("t", 0o1777)),)))
    assert flattened[odd][1] == b"odd"
    assert long in flattened
    info = flattened["suid"][0]
    assert (info.mode, info.mtime) == (0o6755, 7)
    assert info.pax_headers["SCHILY.xattr.security.capability"] == "\udcff\x01"
    assert flattened["t"][0].mode == 0o1777


def test_attributes_about_how_a_layer_was_stored_are_left_out() -> None:
    headers = {f"SCHILY.xattr.{name}": "y" for name in ("trusted.overlay.opaque", "user.overlay.opaque", "user.mine")}
    info = written(remaining((layer(file("a", pax_headers=headers)),)))["a"][0]
    assert [name for name in info.pax_headers if name.startswith("SCHILY")] == ["SCHILY.xattr.user.mine"]


def test_devices_are_left_out_and_listed() -> None:
    flattened = remaining((layer(folder("dev"), device("dev/null"), file("dev/x")),))
    assert flattened.tree.devices == ["dev/null"]
    assert "dev/null" not in written(flattened)
    assert "dev/x" in written(flattened)


def test_every_folder_has_an_entry_before_its_content() -> None:
    order = list(written(remaining((layer(file("a/b/c/d")),))))
    assert order[0] in (".", "")
    assert all(f"{one}/" in f"{two}/" for one, two in pairwise(order[1:]))


@pytest.mark.parametrize("packed", ["gzip", "zstd", ""])
def test_every_compression_gives_the_same_stream(packed: str) -> None:
    assert written(remaining((layer(file("a", b"content"), packed=packed),)))["a"][1] == b"content"


HOSTILE: dict[str, list[Member]] = {
    "leads out": [file("a/../../etc/passwd")],
    "no file system": [file("a/" * 3000 + "b")],
    "is not a file of the image": [hard("a", "b")],
    "is not a folder": [file("a"), file("a/b")],
    "lead in a circle": [link("a", "b"), link("b", "a"), file("a/x")],
    "hides no file": [file(".wh...")],
}


@pytest.mark.parametrize("reason", HOSTILE)
def test_an_impossible_layer_is_refused(reason: str) -> None:
    with pytest.raises(BuildError, match=reason):
        remaining((layer(*HOSTILE[reason]),))


def test_a_layer_with_another_digest_is_refused() -> None:
    with pytest.raises(BuildError, match="expected sha256:00"):
        remaining((layer(file("a"), diff_id="sha256:00"),))


@pytest.mark.parametrize("cut", [1, 30, 700])
def test_a_cut_layer_is_refused(cut: int) -> None:
    plain = tar([file("a", b"x" * 2000), file("b", b"y" * 2000)])
    damaged = plain[: len(plain) - 10240 + cut]
    with pytest.raises(BuildError, match="damaged"):
        remaining((TarLayer(lambda: io.BytesIO(damaged), "a layer", diff_id=digest(plain)),))


def test_the_number_of_entries_their_bytes_and_their_headers_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    long = layer(file("a", pax_headers={"comment": "x" * (layers._LONGEST_HEADER + 1)}))
    with pytest.raises(BuildError, match="expected at most"):
        remaining((long,))
    monkeypatch.setattr(tree, "MOST_BYTES", 10)
    with pytest.raises(BuildError, match="maximum"):
        remaining((layer(file("a", b"x" * 11)),))
    monkeypatch.setattr(tree, "MOST_BYTES", 1000)
    monkeypatch.setattr(tree, "MOST_ENTRIES", 2)
    with pytest.raises(BuildError, match="maximum"):
        remaining((layer(file("a"), file("b"), file("c")),))


def test_links_that_multiply_cannot_take_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "_MOST_STEPS", 1000)
    bomb = [link(f"l{n}", f"l{n + 1}/../l{n + 1}") for n in range(60)]
    with pytest.raises(BuildError, match="is not a folder"):
        remaining((layer(*bomb, folder("l60"), file("l0/x")),))


def test_a_name_of_our_own_layer_is_never_a_whiteout() -> None:
    own = OwnLayer([text_entry("a/.wh.b", "kept")])
    assert written(remaining((layer(file("a/b")), own)))["a/.wh.b"][1] == b"kept"


def compiled(time: int, size: int, flags: int = 0) -> bytes:
    """Return the beginning of a compiled Python file (PEP 552)."""
    return struct.pack("<4sIII", b"magi", flags, time, size) + b"code"


@pytest.mark.parametrize(
    ("name", "content", "changed"),
    [
        ("lib/__pycache__/m.cpython-313.pyc", compiled(5, 3), True),
        ("lib/m.pyc", compiled(5, 3), True),
        ("lib/__pycache__/gone.cpython-313.pyc", compiled(5, 3), True),
        ("lib/__pycache__/m.cpython-313.pyc", compiled(6, 3), False),  # of another source: Python does not use it
        ("lib/__pycache__/m.cpython-313.pyc", compiled(5, 4), False),
        ("lib/__pycache__/m.cpython-313.pyc", compiled(5, 3, flags=1), False),  # Python compares a hash of the source
        ("lib/__pycache__/m.cpython-313.pyc", b"short", False),
        ("lib/m.py_", compiled(5, 3), False),
    ],
)
def test_a_compiled_file_gets_the_time_of_the_image_if_python_would_use_it(name: str, content: bytes, changed: bool) -> None:
    source = file("lib/m.py", b"x=1")
    source[0].mtime = 5
    found = written(remaining((layer(source, file(name, content)),)))[name][1]
    assert found == (content[:8] + struct.pack("<I", EPOCH) + content[12:] if changed else content)


@pytest.mark.parametrize("version", ["0.0", "0.1", "1.0"])
def test_a_sparse_file_is_refused_before_its_map_is_read(version: str) -> None:
    major, minor = version.split(".")
    names = {"1.0": {"GNU.sparse.major": major, "GNU.sparse.minor": minor}, "0.1": {"GNU.sparse.map": "0,1"}}
    headers = names.get(version, {"GNU.sparse.size": "1", "GNU.sparse.numblocks": "1", "GNU.sparse.offset": "0"})
    with pytest.raises(BuildError, match="a sparse file, which hpcdeploy does not read"):
        remaining((layer(file("big", b"1\n0\n1\n", pax_headers=headers)),))


def test_an_old_sparse_file_is_refused() -> None:
    member = file("big", b"x")
    member[0].type = tarfile.GNUTYPE_SPARSE
    with pytest.raises(BuildError, match="a sparse file, which hpcdeploy does not read"):
        remaining((layer(member),))
