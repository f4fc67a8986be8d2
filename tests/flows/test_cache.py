"""What the caches keep: what goes, and above all what stays. Slurm's command is a function that prints a recorded queue.

tests/cluster/test_cache.py shows the same with the real schedulers.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hpcdeploy import limits
from hpcdeploy.apptainer.build_record import record_path, write_record
from hpcdeploy.apptainer.image_cache import ImageCache
from hpcdeploy.apptainer.local_cache import LocalCache, downloads_name
from hpcdeploy.apptainer.verified_files import VerifiedFiles
from hpcdeploy.cache_items import CacheItem, sharing, to_remove
from hpcdeploy.cli.main import app
from hpcdeploy.config.units import parse_size
from hpcdeploy.errors import ConfigError, SchedulerError
from hpcdeploy.flows import cache as flow
from hpcdeploy.image import BuiltImage
from hpcdeploy.remote.cache import managing, read_items
from hpcdeploy.remote.session import Session
from hpcdeploy.transport.local import LocalTransport
from tests.scheduler.samples import CLUSTER
from tests.sessions import session

NOW = int(time.time())
DAY = 86400


def item(name: str, *, size: int = 100, used: int = 0, verdict: str = "free", kind: str = "image") -> CacheItem:
    return CacheItem(kind=kind, name=name, size=size, used=used, verdict=verdict)


def names(items: tuple[CacheItem, ...]) -> list[str]:
    return [one.name for one in items]


def test_the_least_recently_used_go_until_the_rest_fits() -> None:
    items = (item("new", used=3), item("old", used=1), item("middle", used=2))
    assert names(to_remove(items, 300)) == []
    assert names(to_remove(items, 299)) == ["old"]
    assert names(to_remove(items, 150)) == ["old", "middle"]
    assert names(to_remove(items, 0)) == ["old", "middle", "new"]


def test_what_is_worthless_goes_first_and_what_is_used_stays() -> None:
    items = (
        item("used", used=1, verdict="used"),
        item("shared", used=1, verdict="shared"),
        item("unknown", used=1, verdict="unknown"),
        item("bad", kind="damaged", used=9),
        item("half", kind="unfinished", used=9),
        item("halfused", kind="unfinished", verdict="used"),
        item("free", used=5),
    )
    assert names(to_remove(items, 10_000)) == ["bad", "half"]
    assert names(to_remove(items, 0)) == ["bad", "half", "free"]


def test_an_image_that_is_also_a_project_s_file_frees_nothing_and_stays() -> None:
    items = (item("linked", size=0, used=1), item("old", used=2))
    assert names(to_remove(items, 50)) == ["old"]
    assert names(to_remove(items, 0)) == ["linked", "old"]


def test_images_of_one_environment_are_found() -> None:
    one, two = (replace(item(name), image=name, environment="e" * 64) for name in ("one", "two"))
    assert sharing((one, two, item("alone"))) == {"e" * 64: ("one", "two")}
    assert sharing((one,)) == {}


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("20 GB", 20 * 10**9), ("1.5TB", 15 * 10**11), ("1GiB", 2**30), ("500 kB", 500_000), ("0.9B", 0)],
)
def test_sizes_are_those_that_are_shown(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "20", "GB", "-1 GB", "1e3 GB", "1 PB", "20 GB 1 MB"])
def test_a_size_without_a_unit_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a size with its unit"):
        parse_size(text)


class Here:
    """The cache of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = LocalCache(root=folder / "cache" / "hpcdeploy")
        self.images = ImageCache(self.cache.images, VerifiedFiles(self.cache.verified))

    def image(self, name: str, *, days: int = 1, linked: bool = False) -> Path:
        file = self.folder / f"{name}.sif"
        file.write_bytes(name.encode() * 5000)
        key = hashlib.sha256(name.encode()).hexdigest()
        built = BuiltImage(
            name=name,
            sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
            size=file.stat().st_size,
            inputs=key,
            apptainer="1.4.5",
            created="2026-01-01T00:00:00Z",
            path=str(file),
            environment="e" * 64,
        )
        entry = self.images.keep(write_record(built))
        assert entry
        if not linked:
            file.unlink()
        os.utime(record_path(Path(entry.path)), (NOW - days * DAY,) * 2)
        return Path(entry.path)

    def downloads(self, name: str, *, days: int = 1) -> Path:
        folder = self.cache.downloads / downloads_name(self.folder, name)
        (folder / "files" / "pip").mkdir(parents=True)
        (folder / "files" / "pip" / "wheel").write_bytes(b"x" * 9000)
        (folder / "lock").touch()
        (folder / "about.json").write_text(json.dumps({"project": str(self.folder), "image": name}))
        os.utime(folder / "about.json", (NOW - days * DAY,) * 2)
        return folder

    def environment(self, text: str) -> Path:
        content = text.encode() * 5000
        path = self.cache.environments / f"{hashlib.sha256(text.encode()).hexdigest()}.sif"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        values = {"problem": "", "beside": {}, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        record_path(path).write_text(json.dumps(values))
        return path

    def found(self) -> dict[str, CacheItem]:
        return {one.image or one.name: one for one in flow.items(self.cache)}

    def prune(self, keep: int) -> dict[str, str]:
        return {one.image or one.name: one.verdict for one in flow.prune(self.cache, flow.items(self.cache), keep)}


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_an_empty_cache_is_no_error(here: Here) -> None:
    assert flow.items(here.cache) == ()
    assert flow.prune(here.cache, (), 0) == ()
    assert flow.verify(here.cache) == ()


def test_images_and_downloads_are_listed_with_their_projects_and_times(here: Here) -> None:
    here.image("train", days=3)
    here.image("linked", linked=True)
    here.downloads("train", days=2)
    found = here.found()
    assert {name: one.kind for name, one in found.items()} == {"linked": "image", "train": "downloads"}
    images = {one.image: one for one in flow.items(here.cache) if one.kind == "image"}
    assert images["train"].size >= 25_000
    assert images["linked"].size == 0
    assert images["train"].used == NOW - 3 * DAY
    assert images["train"].environment == "e" * 64
    assert found["train"].project == str(here.folder)
    assert found["train"].size >= 9000


def test_pruning_removes_whole_entries(here: Here) -> None:
    old, new = here.image("old", days=9), here.image("new")
    downloads = here.downloads("data", days=5)
    assert here.prune(30_000) == {"old": "removed"}
    assert not old.exists()
    assert not record_path(old).exists()
    assert here.prune(0) == {"data": "removed", "new": "removed"}
    assert not new.exists()
    assert sorted(path.name for path in downloads.iterdir()) == ["lock"]
    assert flow.items(here.cache) == ()


def test_what_a_build_uses_stays(here: Here) -> None:
    image, downloads = here.image("train"), here.downloads("data")
    with locked(here.cache.builds / image.stem[:16] / "lock"), locked(downloads / "lock"):
        assert {one.verdict for one in here.found().values()} == {"used"}
        assert here.prune(0) == {}
        free = tuple(replace(one, verdict="free") for one in flow.items(here.cache))  # listed before the build began
        assert {one.verdict for one in flow.prune(here.cache, free, 0)} == {"used"}
    assert image.exists()
    assert set(here.prune(0).values()) == {"removed"}


def test_what_an_interrupted_build_left_goes_in_any_case(here: Here) -> None:
    left = here.cache.builds / ("b" * 16) / "tmp" / "rootfs"
    left.mkdir(parents=True)
    (left / "big").write_bytes(b"x" * 5000)
    left.chmod(0o500)
    part = here.cache.images / f".{'c' * 64}.part-1"
    here.image("train")
    part.write_bytes(b"half")
    assert here.prune(10**12) == {"b" * 16: "removed"}
    os.utime(part, (NOW - 2 * DAY,) * 2)
    assert here.prune(10**12) == {part.name: "removed"}
    assert not left.exists()
    assert not part.exists()


def test_a_purge_between_listing_and_removal_is_no_error(here: Here) -> None:
    here.image("train")
    here.downloads("data")
    items = flow.items(here.cache)
    shutil.rmtree(here.cache.root)
    assert {one.verdict for one in flow.prune(here.cache, items, 0)} == {"gone"}
    assert flow.verify(here.cache) == ()


@pytest.mark.parametrize("lost", ["image", "record", "about"])
def test_a_half_purged_entry_is_no_error(here: Here, lost: str) -> None:
    image, downloads = here.image("train"), here.downloads("data")
    {"image": image, "record": record_path(image), "about": downloads / "about.json"}[lost].unlink()
    assert len(flow.items(here.cache)) == (1 if lost == "image" else 2)
    assert set(here.prune(0).values()) == {"removed"}
    assert flow.items(here.cache) == ()


def test_verifying_moves_a_damaged_image_aside_and_reads_every_image(here: Here) -> None:
    good, bad, lost = here.image("good"), here.image("bad"), here.image("lost")
    status = bad.stat()
    with bad.open("r+b") as file:
        file.write(b"wrong")
    os.utime(bad, ns=(status.st_atime_ns, status.st_mtime_ns))
    record_path(lost).unlink()
    dry = {one.name: one.verdict for one in flow.verify(here.cache, dry_run=True)}
    assert dry == {good.name: "intact", bad.name: "damaged", lost.name: "damaged"}
    assert bad.exists()
    assert {one.name: one.verdict for one in flow.verify(here.cache)} == {
        good.name: "intact",
        bad.name: "moved",
        lost.name: "moved",
    }
    assert not bad.exists()
    assert {one.name: one.kind for one in here.found().values()} == {
        good.name: "image",
        f"damaged/{bad.name}": "damaged",
        f"damaged/{lost.name}": "damaged",
    }
    assert set(here.prune(10**12).values()) == {"removed"}
    assert good.exists()


def test_environments_are_listed_verified_and_removed(here: Here) -> None:
    good, bad = here.environment("good"), here.environment("bad")
    with bad.open("r+b") as file:
        file.write(b"wrong")
    assert {one.name: (one.kind, one.environment) for one in here.found().values()} == {
        path.name: ("environment", path.stem) for path in (good, bad)
    }
    assert {one.name: one.verdict for one in flow.verify(here.cache)} == {good.name: "intact", bad.name: "moved"}
    with locked(here.cache.builds / good.stem[:16] / "lock"):
        assert here.prune(0) == {f"{bad.stem}.damaged": "removed"}
    assert here.prune(0) == {good.name: "removed"}
    assert [path for path in here.cache.environments.iterdir() if path.is_file()] == []


def cli(here: Here, *words: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["cache", *words], env={"XDG_CACHE_HOME": str(here.cache.root.parent)})
    assert done.exit_code == code, (done.output, done.exception)
    return done.stdout


def test_the_verbs_print_tables_and_json_and_a_dry_run_changes_nothing(here: Here) -> None:
    image = here.image("train", days=3)
    here.downloads("train")
    assert "train" in cli(here, "list")
    listed = json.loads(cli(here, "list", "--json"))
    assert [(one["kind"], one["image"]) for one in listed] == [("image", "train"), ("downloads", "train")]
    planned = json.loads(cli(here, "prune", "--keep", "0", "--dry-run", "--json"))
    assert (planned["dry_run"], len(planned["items"])) == (True, 2)
    assert image.exists()
    assert json.loads(cli(here, "verify", "--json"))[0]["verdict"] == "intact"
    image.write_bytes(b"wrong")
    assert json.loads(cli(here, "verify", "--json", code=1))[0]["verdict"] == "moved"
    done = json.loads(cli(here, "prune", "--keep", "0", "-y", "--json"))
    assert [one["verdict"] for one in done["items"]] == ["removed", "removed"]
    assert json.loads(cli(here, "list", "--json")) == []


class Site:
    """A cluster's root and image cache on this machine."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.images = self.root / "images"
        self.images.mkdir(parents=True, mode=0o700)
        (self.root / "runs").mkdir(mode=0o700)
        self.root.chmod(0o700)
        self.queue = ""

    @property
    def session(self) -> Session:
        squeue = f"squeue() {{ printf '%s\\n' {self.queue}; }}" if self.queue != "down" else "squeue() { return 1; }"
        cluster = replace(CLUSTER, root=str(self.root), image_cache="", setup=(squeue,), schedulers=("slurm",))
        return session(cluster, LocalTransport())

    def image(self, text: str, *, days: int = 1, name: str = "") -> Path:
        content = text.encode() * 5000
        path = self.images / f"{hashlib.sha256(content).hexdigest()}.sif"
        path.write_bytes(content)
        path.chmod(0o600)
        if name:
            values = {"name": name, "inputs": "a" * 64, "environment": "e" * 64}
            path.with_suffix(".json").write_text(json.dumps(values) + "\n")
        os.utime(path, (NOW - days * DAY,) * 2)
        return path

    def run(self, run_id: str, image: Path, *, has_job: bool = True) -> None:
        folder = self.root / "runs" / run_id
        folder.mkdir(mode=0o700)
        (folder / "image").write_text(f"{image}\n")
        if has_job:
            (folder / "id").symlink_to("12")

    def downloads(self, number: int) -> Path:
        folder = self.root / "downloads" / (str(number) * 32)
        (folder / "files" / "pip").mkdir(parents=True)
        (folder / "files" / "pip" / "wheel").write_bytes(b"x" * 9000)
        (folder / "lock").touch()
        (folder / "about.json").write_text(json.dumps({"project": "/a b", "image": "train"}))
        return folder

    def environment(self, text: str) -> Path:
        content = text.encode() * 5000
        path = self.root / "environments" / f"{hashlib.sha256(text.encode()).hexdigest()}.sif"
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.write_bytes(content)
        path.with_suffix(".sha256").write_text(hashlib.sha256(content).hexdigest() + "\n")
        path.with_suffix(".report").write_bytes(b"\0")
        return path

    def verdicts(self) -> dict[str, str]:
        return {one.name: one.verdict for one in flow.items(self.session)}

    def prune(self, keep: int) -> dict[str, str]:
        return {one.name: one.verdict for one in flow.prune(self.session, flow.items(self.session), keep)}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_cluster_without_folders_has_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path)
    shutil.rmtree(site.root)
    assert site.verdicts() == {}
    assert flow.verify(site.session) == ()


def test_a_cluster_s_items_are_listed(site: Site) -> None:
    built, pulled = site.image("built", name="train", days=5), site.image("pulled")
    downloads = site.downloads(1)
    (site.root / "cache" / "blob").mkdir(parents=True)
    found = {one.name: one for one in flow.items(site.session)}
    assert set(found) == {built.name, pulled.name, downloads.name, "cache"}
    one = found[built.name]
    assert (one.image, one.key, one.environment, one.used) == ("train", "a" * 64, "e" * 64, NOW - 5 * DAY)
    assert one.size >= 25_000
    assert (found[downloads.name].project, found[downloads.name].image) == ("/a b", "train")


def test_the_image_of_a_queued_or_submitting_run_stays(site: Site) -> None:
    queued, submitting, ended = site.image("queued", days=9), site.image("submitting"), site.image("ended", days=8)
    for number, image in enumerate((queued, ended, submitting)):
        site.run(f"run-{number}", image, has_job=image != submitting)
    site.queue = "run-0 bash"
    assert site.prune(0) == {ended.name: "removed"}
    assert site.verdicts() == {queued.name: "used", submitting.name: "used"}


def test_an_image_that_a_run_needs_since_the_listing_gets_its_name_back(site: Site) -> None:
    image = site.image("train")
    items = flow.items(site.session)
    site.run("run-1", image, has_job=False)
    assert [one.verdict for one in flow.prune(site.session, items, 0)] == ["used"]
    assert image.exists()
    assert not list(site.images.glob(".*removing"))


@pytest.mark.parametrize("queue", ["down", "other-0123456789"])
def test_no_image_goes_if_it_is_unknown_which_images_the_jobs_use(site: Site, queue: str) -> None:
    image, downloads = site.image("train"), site.downloads(1)
    site.queue = queue
    assert site.verdicts() == {image.name: "unknown", downloads.name: "free"}
    assert site.prune(0) == {downloads.name: "removed"}
    assert image.exists()


def test_no_image_goes_that_a_group_may_use(site: Site) -> None:
    image = site.image("train")
    site.images.chmod(0o2750)
    assert site.verdicts() == {image.name: "shared"}


def test_a_removal_that_was_killed_is_undone(site: Site) -> None:
    image = site.image("train")
    away = image.with_name(f".{image.name}.removing")
    image.rename(away)
    other = site.image("other", days=9)
    assert site.prune(30_000) == {other.name: "removed"}
    assert image.exists()
    assert not away.exists()


def test_downloads_and_builds_in_use_stay(site: Site) -> None:
    folder = site.downloads(1)
    build = site.root / "builds" / ("b" * 64)
    build.mkdir(parents=True)
    (build / "context.tar").write_bytes(b"x" * 5000)
    (site.root / "cache").mkdir()
    with locked(folder / "lock"), locked(build / "lock"):
        assert site.verdicts() == {folder.name: "used", build.name: "used", "cache": "used"}
        assert site.prune(0) == {}
        free = tuple(replace(one, verdict="free") for one in flow.items(site.session))
        assert {one.verdict for one in flow.prune(site.session, free, 0)} == {"used"}
    assert site.prune(0) == {build.name: "removed", folder.name: "removed", "cache": "removed"}
    assert (folder / "lock").exists()
    assert site.verdicts() == {}


def test_a_cluster_s_purge_between_listing_and_removal_is_no_error(site: Site) -> None:
    site.image("train")
    site.downloads(1)
    items = flow.items(site.session)
    shutil.rmtree(site.images)
    shutil.rmtree(site.root / "downloads")
    assert {one.verdict for one in flow.prune(site.session, items, 0)} == {"gone"}


def test_a_damaged_image_on_a_cluster_is_moved_aside(site: Site) -> None:
    good, bad = site.image("good"), site.image("bad", name="train")
    with bad.open("r+b") as file:
        file.write(b"wrong")
    dry = {one.name: one.verdict for one in flow.verify(site.session, dry_run=True)}
    assert dry == {good.name: "intact", bad.name: "damaged"}
    assert {one.name: one.verdict for one in flow.verify(site.session)} == {good.name: "intact", bad.name: "moved"}
    assert sorted(path.suffix for path in (site.images / "damaged").iterdir()) == [".json", ".sif"]
    assert site.prune(10**12) == {f"damaged/{bad.name}": "removed"}
    assert list((site.images / "damaged").iterdir()) == []


def test_a_cluster_s_environments_are_listed_verified_and_removed(site: Site) -> None:
    good, bad = site.environment("good"), site.environment("bad")
    with bad.open("r+b") as file:
        file.write(b"wrong")
    with locked(good.with_suffix(".lock")):
        assert site.verdicts() == {good.name: "used", bad.name: "free"}
        assert {one.name: one.verdict for one in flow.verify(site.session)} == {good.name: "used", bad.name: "moved"}
        assert site.prune(0) == {f"environments/{bad.name}": "removed"}
    assert {one.name: one.verdict for one in flow.verify(site.session)} == {good.name: "intact"}
    assert site.prune(0) == {good.name: "removed"}
    assert sorted(path.suffix for path in good.parent.iterdir() if path.is_file()) == [".lock", ".lock"]


def test_files_that_hpcdeploy_did_not_name_are_not_touched(site: Site) -> None:
    own = (site.images / "mine.sif", site.images / f"{'A' * 64}.sif", site.root / "downloads" / "mine" / "file")
    for path in own:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"mine")
    hostile = tuple(
        CacheItem(kind=kind, name=name)
        for kind, name in (
            ("image", "mine.sif"),
            ("image", "../../x"),
            ("downloads", "mine"),
            ("downloads", ".."),
            ("damaged", "damaged/../mine.sif"),
            ("unfinished", ".."),
            ("unfinished", "../downloads"),
        )
    )
    assert flow.prune(site.session, hostile, 0) == ()
    assert all(path.exists() for path in own)


def test_an_answer_of_a_login_node_is_not_believed_in_everything() -> None:
    lines = (
        "image free 10 20 a.sif {}",
        "image free x 20 b.sif {}",
        "image evil 10 20 c.sif {}",
        "other free 10 20 d.sif {}",
        "image free 10 20",
        'image free 10 20 e.sif {"name": 1, "inputs": "../x", "environment": "' + "e" * 64 + '"}',
        "image free 10 20 f.sif [1",
    )
    found = list(read_items("\n".join(lines).encode()))
    assert [(one.name, one.size, one.image, one.key) for one in found] == [
        ("a.sif", 10240, "", ""),
        ("e.sif", 10240, "", ""),
        ("f.sif", 10240, "", ""),
    ]
    assert found[1].environment == "e" * 64
    with pytest.raises(SchedulerError, match="more than"):
        list(read_items(b"x\n" * (limits.MOST_CLEANED + 1)))


def test_the_script_is_one_that_bash_reads(site: Site) -> None:
    script = managing(site.session.cluster, "remove", (item("x"),), "fence")
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
