"""A build without Apptainer is killed, or finds a full disk, at each of its steps that change a file.

The next call is right in any case, and leaves no unfinished file.
"""

import random
from pathlib import Path

import pytest

from hpcdeploy.apptainer.build_record import read_record
from hpcdeploy.apptainer.local_cache import LocalCache
from hpcdeploy.flows.bases import with_keys
from hpcdeploy.flows.build import LocalBuilds, build_here
from hpcdeploy.flows.builders import choose_builder
from hpcdeploy.flows.generate import generate
from hpcdeploy.image import BuiltImage, ImageSettings
from hpcdeploy.source import OciSource
from hpcdeploy.whole_file import sha256_of
from tests.direct.test_direct_build import MKSQUASHFS, archive
from tests.flows.test_build_faults import MOST, disturbed, rng

__all__ = ["rng"]

SETTINGS = ImageSettings(name="x", source=OciSource(reference="docker-archive:image.tar"), bind_points=("/scratch",))


class Workplace:
    """A project and a cache; `build` builds the project's image without Apptainer."""

    def __init__(self, folder: Path) -> None:
        self.project, self.cache = folder / "project", LocalCache(root=folder / "cache")
        self.output = self.project / "x.sif"
        self.project.mkdir(parents=True)
        archive(self.project / "image.tar")

    def build(self) -> BuiltImage:
        definition = with_keys(generate(SETTINGS, self.project), ())
        chosen = choose_builder(SETTINGS, self.project, definition, wanted=None, downloads=self.cache.direct_downloads)
        builds = LocalBuilds(work=self.cache.builds, images=self.cache.images, verified=self.cache.verified, direct=chosen)
        return build_here(definition, self.output, builds, is_recorded=lambda _: True)

    def left(self) -> list[str]:
        """Return the unfinished files."""
        builds = self.cache.builds
        inner = [path for path in builds.rglob("*") if path.is_file() and path.name != "lock"]
        hidden = [path for folder in (self.project, self.cache.images) for path in folder.glob(".*")]
        parts = [path for folder in (self.project, self.cache.root) for path in folder.rglob("*.part-*")]
        return [str(path) for path in (*inner, *hidden, *parts) if path.parent != self.cache.verified]


@pytest.mark.parametrize("fault", ["killed", "full"])
def test_the_next_call_is_right_and_leaves_nothing(
    tmp_path: Path, fault: str, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/mksquashfs").write_text(MKSQUASHFS)
    (tmp_path / "bin/mksquashfs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    counted = Workplace(tmp_path / "count")
    steps = disturbed(counted.build, 0, fault)
    assert steps > 10
    wanted = sha256_of(counted.output)
    for number in sorted(rng.sample(range(1, steps + 1), min(MOST, steps))):
        work = Workplace(tmp_path / str(number))
        disturbed(work.build, number, fault)
        assert not work.output.exists() or sha256_of(work.output) == wanted, number
        built = work.build()
        assert (built.sha256, sha256_of(work.output)) == (wanted, wanted), number
        assert read_record(work.output, inputs=(built.inputs,)), number
        assert work.left() == [], number
