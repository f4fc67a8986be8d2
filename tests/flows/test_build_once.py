"""One key has one build, whatever happens to its files. Apptainer is a script here, which notes its calls."""

import errno
import json
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.apptainer import image_cache
from hpcdeploy.apptainer.build_progress import FROM_CACHE, UNCHANGED
from hpcdeploy.apptainer.build_record import read_record, record_path
from hpcdeploy.apptainer.build_script import Repeating
from hpcdeploy.apptainer.image_cache import DAMAGED
from hpcdeploy.apptainer.local_cache import LocalCache
from hpcdeploy.errors import BuildError
from hpcdeploy.flows.bases import with_keys
from hpcdeploy.flows.build import LocalBuilds, build_here
from hpcdeploy.image import BuiltImage, Definition
from hpcdeploy.store import Store
from hpcdeploy.whole_file import sha256_of

DIGEST = "sha256:" + "d" * 64
PROGRAM = """#!/bin/bash
[ "$*" = "build --help" ] && exit
echo "$1" >>"{log}"
case $1 in
--version) echo apptainer version "$(cat "{version}")" ;;
build)
  for word; do case $word in *.part) part=$word ;; esac; done
  cp image.def "{log}.def"
  env | grep ^APPTAINERENV_ >"{log}.env"
  printf '%s\\n' "$@" >"{log}.words"
  sleep "$(cat "{pause}")"
  echo "built by $$" >"$part" ;;
exec) echo HPCDEPLOY_BEGUN ;;
esac
"""

PLAIN = Definition(name="x", text="Bootstrap: docker\nFrom: debian:13\n", files=(), build_args=(), inputs="a" * 64)
KEYED = with_keys(PLAIN, (("debian:13", DIGEST),))


class Workplace:
    """A user with a cache and a record, who builds into files of a project."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(folder / "state" / "runs.db")
        self.cache = LocalCache(root=folder / "cache")
        self.log = folder / "log"
        (folder / "pause").write_text("0")
        (folder / "version").write_text("1.4.5")
        program = folder / "apptainer"
        program.write_text(PROGRAM.format(log=self.log, version=folder / "version", pause=folder / "pause"))
        program.chmod(0o755)

    def build(
        self, output: str = "x.sif", definition: Definition = KEYED, repeating: Repeating | None = None
    ) -> tuple[BuiltImage, list[str]]:
        steps: list[str] = []
        built = build_here(
            definition,
            self.folder / output,
            LocalBuilds(
                program=str(self.folder / "apptainer"),
                work=self.cache.builds,
                images=self.cache.images,
                verified=self.cache.verified,
                downloads=self.cache.downloads / "x",
            ),
            is_recorded=self.store.has_built,
            repeating=repeating or Repeating(),
            report=lambda event: steps.append(event.text),
        )
        self.store.built(self.folder, built)
        return built, steps

    @property
    def calls(self) -> list[str]:
        return self.log.read_text().split() if self.log.exists() else []

    @property
    def builds(self) -> int:
        return self.calls.count("build")

    def entry(self) -> Path:
        return self.cache.images / f"{KEYED.inputs}.sif"

    def left(self) -> list[str]:
        """Unfinished files, in the cache and beside the output."""
        return [str(path) for path in self.folder.rglob(".*") if "part" in path.name]


@pytest.fixture
def work(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


def test_the_same_key_starts_no_program_and_reads_no_image(work: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = work.build()
    calls = work.calls

    def refuse(path: Path) -> str:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr("hpcdeploy.apptainer.verified_files.sha256_of", refuse)
    (work.folder / "apptainer").unlink()
    again, steps = work.build()
    assert (again, steps, work.calls) == (first, [UNCHANGED], calls)


def test_the_tag_that_the_build_uses_is_the_digest_in_the_key(work: Workplace) -> None:
    work.build()
    assert work.log.with_name("log.def").read_text() == f"Bootstrap: docker\nFrom: debian@{DIGEST}\n"


def test_the_record_holds_keys_builder_and_tools(work: Workplace) -> None:
    built, _ = work.build()
    assert (built.inputs, built.environment, built.builder) == (KEYED.inputs, KEYED.environment, "apptainer")
    assert dict(built.tools)["hpcdeploy"]
    assert read_record(work.folder / "x.sif") == built
    assert work.store.latest_build(work.folder, "x") == built


def test_an_image_that_another_project_built_is_copied_from_the_cache(work: Workplace) -> None:
    first, _ = work.build()
    seen = []
    for output in ("y.sif", "y.sif", "z.sif"):
        copy, steps = work.build(output)
        assert copy.sha256 == first.sha256 == sha256_of(work.folder / output)
        seen += steps
    assert work.builds == 1
    assert seen == [FROM_CACHE, UNCHANGED, FROM_CACHE]


def test_an_image_that_was_removed_comes_from_the_cache(work: Workplace) -> None:
    work.build()
    (work.folder / "x.sif").unlink()
    assert work.build()[1] == [FROM_CACHE]


def test_force_builds_anyway_and_replaces_the_entry(work: Workplace) -> None:
    first, _ = work.build()
    second, _ = work.build(repeating=Repeating(force=True))
    assert (work.builds, second.sha256 == first.sha256) == (2, False)
    assert sha256_of(work.entry()) == second.sha256


def test_another_digest_of_the_base_is_another_build(work: Workplace) -> None:
    work.build()
    work.build(definition=with_keys(PLAIN, (("debian:13", DIGEST.replace("d", "e")),)))
    assert work.builds == 2


@pytest.mark.parametrize("output", ["x.sif", "y.sif"])
def test_other_tools_count_only_with_exact_tools(work: Workplace, output: str) -> None:
    work.build()
    (work.folder / "version").write_text("1.5.3")
    assert work.build(output)[1] in ([UNCHANGED], [FROM_CACHE])
    exact = Repeating(exact_tools=True)
    assert any("other tools" in step for step in work.build(output, repeating=exact)[1])
    assert work.build(output, repeating=exact)[1] == [UNCHANGED]
    assert work.builds == 2


def test_an_image_of_a_release_without_keys_is_found_as_before(work: Workplace) -> None:
    first, _ = work.build(definition=PLAIN)
    values = json.loads(record_path(work.folder / "x.sif").read_text())
    for later in ("environment", "builder", "tools"):
        del values[later]
    record_path(work.folder / "x.sif").write_text(json.dumps(values))
    again, steps = work.build()
    assert (again.sha256, steps) == (first.sha256, [UNCHANGED])


def corrupt(path: Path) -> None:
    path.write_bytes(b"wrong")


def corrupt_in_place(path: Path) -> None:
    status = path.stat()
    with path.open("r+b") as file:
        file.write(b"BUILT")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def truncate(path: Path) -> None:
    os.truncate(path, 3)


@pytest.mark.parametrize("damage", [corrupt, corrupt_in_place, truncate])
def test_a_damaged_entry_is_moved_aside_and_built_again(work: Workplace, damage: Callable[[Path], None]) -> None:
    work.build()
    (work.folder / "x.sif").unlink()
    damage(work.entry())
    wrong = work.entry().read_bytes()
    built, steps = work.build()
    assert any("damaged; it was moved" in step for step in steps)
    assert work.builds == 2
    assert (work.folder / "x.sif").read_bytes() != wrong
    assert (work.cache.images / DAMAGED / work.entry().name).read_bytes() == wrong
    assert sha256_of(work.entry()) == built.sha256


@pytest.mark.parametrize("lost", ["image", "record", "everything", "checksums", "record is damaged"])
def test_an_entry_that_a_site_purged_in_part_is_no_error(work: Workplace, lost: str) -> None:
    work.build()
    (work.folder / "x.sif").unlink()
    match lost:
        case "image":
            work.entry().unlink()
        case "record":
            record_path(work.entry()).unlink()
        case "everything":
            shutil.rmtree(work.cache.root)
        case "checksums":
            shutil.rmtree(work.cache.verified)
        case _:
            record_path(work.entry()).write_text("{")
    built, _ = work.build()
    assert sha256_of(work.folder / "x.sif") == built.sha256
    assert work.builds == (1 if lost == "checksums" else 2)
    assert work.build()[1] == [UNCHANGED]


def test_two_builders_of_one_key_build_once(work: Workplace) -> None:
    (work.folder / "pause").write_text("0.5")
    done: dict[str, list[str]] = {}

    def build(name: str) -> None:
        done[name] = work.build(name)[1]

    builders = [threading.Thread(target=build, args=(name,)) for name in ("x.sif", "y.sif")]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert work.builds == 1
    assert sha256_of(work.folder / "x.sif") == sha256_of(work.folder / "y.sif")
    assert any("waiting for another build" in step for steps in done.values() for step in steps)


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EMLINK])
def test_without_second_names_an_image_is_not_kept_and_an_entry_is_copied(
    work: Workplace, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    work.build()

    def no_link(_path: Path, name: Path) -> None:
        raise OSError(number, os.strerror(number), str(name))

    monkeypatch.setattr("hpcdeploy.apptainer.image_cache.os.link", no_link)
    assert work.build("y.sif")[1] == [FROM_CACHE]
    other = with_keys(PLAIN, (("debian:13", DIGEST.replace("d", "f")),))
    work.build("z.sif", other)
    assert not (work.cache.images / f"{other.inputs}.sif").exists()
    assert work.left() == []


def test_a_full_disk_of_the_cache_fails_no_build(work: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: Path, name: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(name))

    monkeypatch.setattr("hpcdeploy.apptainer.image_cache.os.link", full)
    built, _ = work.build()
    assert sha256_of(work.folder / "x.sif") == built.sha256
    assert not work.entry().exists()
    assert work.left() == []


def test_a_copy_that_was_cancelled_leaves_nothing(work: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    work.build()
    with monkeypatch.context() as patch:
        patch.setattr(image_cache, "_second_name", lambda _path, _name: False)

        def cancelled(_source: object, target: object, _size: int) -> None:
            target.write(b"half")  # type: ignore[attr-defined]
            raise KeyboardInterrupt

        patch.setattr("hpcdeploy.apptainer.image_cache.shutil.copyfileobj", cancelled)
        with pytest.raises(KeyboardInterrupt):
            work.build("y.sif")
    assert not (work.folder / "y.sif").exists()
    assert work.left() == []
    assert work.build("y.sif")[1] == [FROM_CACHE]


def test_what_a_killed_build_left_beside_the_image_is_removed_even_if_nothing_is_built(work: Workplace) -> None:
    work.build()
    (work.folder / ".x.sif.part").write_bytes(b"half")
    assert work.build()[1] == [UNCHANGED]
    assert work.left() == []


def test_a_build_that_fails_leaves_the_image_and_no_part(work: Workplace) -> None:
    first, _ = work.build()
    program = work.folder / "apptainer"
    program.write_text(program.read_text().replace('echo "built by $$" >"$part"', 'echo half >"$part"; exit 1'))
    with pytest.raises(BuildError):
        work.build(repeating=Repeating(force=True))
    assert sha256_of(work.folder / "x.sif") == first.sha256
    assert work.left() == []


def test_downloads_are_mounted_outside_of_the_image_and_named_to_the_package_managers(work: Workplace) -> None:
    work.build()
    variables = dict(line.split("=", 1) for line in work.log.with_name("log.env").read_text().splitlines())
    place = variables["APPTAINERENV_HPCDEPLOY_DOWNLOADS"]
    assert variables["APPTAINERENV_RATTLER_CACHE_DIR"] == f"{place}/conda"
    assert variables["APPTAINERENV_APT_CONFIG"] == f"{place}/apt.conf"
    downloads = work.cache.downloads / "x"
    assert f"{downloads / 'files'}:{place}" in work.log.with_name("log.words").read_text().splitlines()
    assert f'Dir::Cache::archives "{place}/apt/";' in (downloads / "files" / "apt.conf").read_text()
    assert not Path(place).exists()


def test_a_mount_point_that_a_killed_build_left_is_removed(work: Workplace, tmp_path: Path) -> None:
    downloads = work.cache.downloads / "x"
    work.build()
    left = Path("/tmp/hpcdeploy-left1234")
    left.mkdir()
    (downloads / "mounted").write_text(str(left))
    work.build(repeating=Repeating(force=True))
    assert not left.exists()


@pytest.mark.parametrize("setting", ["mount tmp = no", "user bind control = no"])
def test_downloads_are_not_kept_where_apptainer_mounts_nothing(work: Workplace, setting: str) -> None:
    conf = work.folder / "apptainer.conf"
    conf.write_text(f"# comment\n{setting}\n")
    program = work.folder / "apptainer"
    program.write_text(program.read_text().replace("exec) ", f"buildcfg) echo {conf} ;;\nexec) "))
    _, steps = work.build()
    assert any(f"downloads are not kept: this machine's Apptainer has '{setting}'" in step for step in steps)
    assert work.log.with_name("log.env").read_text() == "APPTAINERENV_SOURCE_DATE_EPOCH=315532800\n"


def test_the_name_in_the_settings_is_the_user_s_own_in_a_copy(work: Workplace) -> None:
    work.build()
    copy, _ = work.build("y.sif", replace(KEYED, name="y"))
    assert copy.name == "y"
    assert record_path(work.folder / "y.sif").read_text().count('"name": "y"') == 1
