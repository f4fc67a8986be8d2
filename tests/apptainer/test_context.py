"""The archive that a build on a login node gets."""

import hashlib
import tarfile
from pathlib import Path

import pytest

from hpcdeploy.apptainer.build_folder import pack_context
from hpcdeploy.errors import BuildError
from hpcdeploy.image import ContextFile, Definition


def definition(path: Path, content: bytes) -> Definition:
    file = ContextFile(source=path, staged="image/archive.tar", mode=0o755, sha256=hashlib.sha256(content).hexdigest())
    return Definition(name="x", text="", files=(file,), build_args=(), inputs="")


def test_files_are_packed_under_their_places_and_modes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "a").write_bytes(content)
    digest = pack_context(definition(tmp_path / "a", content), "text", tmp_path / "context.tar")
    assert digest == hashlib.sha256((tmp_path / "context.tar").read_bytes()).hexdigest()
    with tarfile.open(tmp_path / "context.tar") as archive:
        assert archive.getnames() == ["image.def", "image/archive.tar"]
        packed = archive.extractfile("image/archive.tar")
        assert packed is not None
        assert packed.read() == content
        assert archive.getmember("image/archive.tar").mode == 0o755


@pytest.mark.parametrize("now", [b"", b"other", b"content and more"])
def test_a_file_that_changed_in_between_is_never_packed_in_silence(tmp_path: Path, now: bytes) -> None:
    (tmp_path / "a").write_bytes(now)
    with pytest.raises(BuildError, match="changed while the build was prepared"):
        pack_context(definition(tmp_path / "a", b"content"), "text", tmp_path / "context.tar")
