"""An image that is older than the project is known by what changed; one that is not is not."""

import hashlib
import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy import __version__, known_files
from hpcdeploy.config.files import load_project
from hpcdeploy.errors import ConfigError, RegistryError
from hpcdeploy.flows.bases import with_keys
from hpcdeploy.flows.freshness import (
    BuildInputs,
    Freshness,
    bases_before,
    check_image,
    freshness,
    inputs_of,
    labels_of_published,
    note_build,
)
from hpcdeploy.flows.generate import generate
from hpcdeploy.image import BuiltImage, PublishedImage
from hpcdeploy.known_files import KnownFiles, remembering
from hpcdeploy.source import OciConfig
from hpcdeploy.store import Store
from tests.apptainer.sifs import JSON, Part, partition, sif, squashfs

BUILT = BuiltImage(name="default", sha256="ab" * 32, size=1, inputs="", apptainer="", created="2026-01-02T03:04:05Z")
MANIFEST = """
[workspace]
name = "w"
channels = ["conda-forge"]
platforms = ["linux-64"]
[activation]
scripts = ["activate.sh"]
[feature.gpu.dependencies]
zlib = "*"
[environments]
gpu = ["gpu"]
"""
LOCK = """version: 6
environments:
  default: {channels: [{url: 'https://conda.anaconda.org/conda-forge/'}], packages: {linux-64: []}}
  gpu: {channels: [{url: 'https://conda.anaconda.org/conda-forge/'}], packages: {linux-64: []}}
packages: []
"""
SETTINGS = '[image]\nfiles = { "app" = "/app/src" }\n'
Changing = Callable[["Folder"], None]


class Folder:
    """A project with a Pixi environment, and the record of one build of it.

    With `keys`, the build has keys; without, it is one of a release that had none.
    """

    def __init__(self, path: Path, *, keys: bool) -> None:
        self.path = path
        self.keys = keys
        self.store = Store(path / "state" / "runs.db")
        self.answers = {"docker.io/library/x:1": OciConfig(digest=f"sha256:{'c' * 64}", env=(("A", "1"),))}
        for name, text in {
            "pixi.toml": MANIFEST, "pixi.lock": LOCK, "hpcdeploy.toml": SETTINGS, "activate.sh": "export A=1\n",
            "app/train.py": "print()\n",
        }.items():  # fmt: skip
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def build(self, *given: tuple[str, str], image: BuiltImage = BUILT, note: bool = True) -> BuiltImage:
        """Do what 'hpcdeploy build' does but for Apptainer."""
        settings = load_project(self.path).images["default"]
        with remembering(KnownFiles()) as known:
            made = generate(settings, self.path, image_config=self.answers.__getitem__, build_args=given)
            if self.keys:
                made = with_keys(made, ((made.base, f"sha256:{'e' * 64}"),), machine="aarch64")
            inputs = inputs_of(made, settings, self.path, known)
        built = replace(image, inputs=made.inputs)
        self.store.built(self.path, built)
        if note:
            note_build(self.store, self.path, built, inputs, known)
        return built

    def look(self) -> Freshness:
        found = freshness(load_project(self.path).images["default"], self.path, self.store)
        assert found is not None
        return found


@pytest.fixture(params=["keys", "no keys"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    return Folder(tmp_path, keys=request.param == "keys")


def settings(text: str) -> Changing:
    return lambda folder: folder.write("hpcdeploy.toml", text)


def written(name: str, text: str) -> Changing:
    return lambda folder: folder.write(name, text)


def removed(name: str) -> Changing:
    return lambda folder: (folder.path / name).unlink()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (settings(SETTINGS + 'pixi = { environment = "gpu" }'), ('image.pixi.environment ("default" before, "gpu" now)',)),
        (settings(SETTINGS + 'base = "ubuntu:24.04"'), ("image.base changed",)),
        (settings(SETTINGS + '[image.environment]\nTOKEN = "hidden"'), ("image.environment changed",)),
        (settings("[image]\n"), ("image.files changed", "app/train.py was removed")),
        (written("pixi.toml", MANIFEST + "\n# a word"), ("pixi.toml changed",)),
        (written("pixi.lock", LOCK + "\n# a word"), ("pixi.lock changed",)),
        (written("activate.sh", "export A=2\n"), ("activate.sh changed",)),
        (written("app/train.py", "print(1)\n"), ("app/train.py changed",)),
        (written("app/more.py", "print(1)\n"), ("app/more.py is new",)),
        (written(".pixi/config.toml", "[mirrors]\n"), (".pixi/config.toml is new",)),
        (written("defs/parts/tests.def", "[# mine #]\n"), ()),
        (lambda folder: (folder.path / "app/train.py").chmod(0o755), ("app/train.py changed",)),
    ],
)
def test_what_changed_since_the_build_is_told(folder: Folder, change: Changing, said: tuple[str, ...]) -> None:
    folder.build()
    assert folder.look() == Freshness()
    change(folder)
    assert folder.look() == Freshness(changes=said)
    folder.build()
    assert folder.look() == Freshness()


def test_a_template_of_the_project_is_an_input(folder: Folder) -> None:
    from hpcdeploy.templates import shipped_root

    folder.build()
    folder.write("defs/pixi.def", (shipped_root() / "defs/pixi.def").read_text() + "\n# mine\n")
    assert folder.look().changes == ("defs/pixi.def is new",)


@pytest.mark.parametrize(
    "change",
    [
        settings(SETTINGS + 'repository = "ghcr.io/me/x"\ntags = ["v1"]\n[jobs.train]\ncommand = ["true"]\n'),
        written("docs/index.md", "of no concern to the image"),
        written("activate.sh", "export A=1\n"),
        lambda folder: (folder.path / "app/train.py").chmod(0o600),
        lambda folder: folder.answers.update({"docker.io/library/x:1": OciConfig(digest=f"sha256:{'d' * 64}")}),
    ],
)
def test_what_changes_nothing_in_the_image_is_not_told(folder: Folder, change: Changing) -> None:
    folder.build()
    change(folder)
    assert folder.look() == Freshness()


def test_a_build_argument_of_the_command_is_no_change_of_the_project(folder: Folder) -> None:
    folder.build(("ENVIRONMENT", "gpu"))
    assert folder.look() == Freshness()
    folder.write("pixi.lock", LOCK + "\n# a word")
    assert folder.look().changes == ("pixi.lock changed",)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (removed("pixi.lock"), "pixi.lock is missing"),
        (written("pixi.lock", "version: 99\n"), "pixi.lock changed"),
        (removed("app/train.py"), "which contains no file to copy"),
    ],
)
def test_a_project_that_can_no_longer_be_built_is_a_changed_one(folder: Folder, change: Changing, said: str) -> None:
    folder.build()
    change(folder)
    found = folder.look()
    assert said in " ".join(found.changes)
    assert "the definition can no longer be made" in found.changes[-1]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('oci = "x:1"', 'oci = "x:2"', ('image.oci.reference ("x:1" before, "x:2" now)',)),
        ('dockerfile = "Dockerfile"', None, ("Dockerfile changed",)),
        ('definition = "x.def"', None, ("x.def changed",)),
        ('dockerfile = "Dockerfile"', "", ("image.pixi instead of image.dockerfile",)),
    ],
)
def test_every_kind_of_image_is_looked_at(folder: Folder, before: str, after: str | None, said: tuple[str, ...]) -> None:
    folder.write("Dockerfile", "FROM docker.io/library/x:1\nRUN true\n")
    folder.write("x.def", "Bootstrap: docker\nFrom: x:1\n")
    folder.write("hpcdeploy.toml", f"[image]\n{before}\n")
    folder.build()
    assert folder.look() == Freshness(), "no registry is asked"
    if after is not None:
        folder.write("hpcdeploy.toml", f"[image]\n{after}\n")
    else:
        folder.write("Dockerfile", "FROM docker.io/library/x:1\nRUN false\n")
        folder.write("x.def", "Bootstrap: docker\nFrom: x:2\n")
    found = folder.look().changes
    assert len(found) >= len(said)
    assert all(any(one in change for change in found) for one in said), found


def test_a_base_that_was_not_asked_about_is_a_change_by_itself(folder: Folder) -> None:
    folder.write("Dockerfile", "FROM docker.io/library/x:1\n")
    folder.write("hpcdeploy.toml", '[image]\ndockerfile = "Dockerfile"\n')
    folder.build()
    folder.write("Dockerfile", "FROM docker.io/library/x:2\n")
    assert folder.look().changes == ("Dockerfile changed",)


def test_a_spack_environment_is_looked_at(folder: Folder) -> None:
    folder.write("spack.yaml", "spack:\n  specs: [zlib]\n  packages:\n    all:\n      require: target=zen3\n")
    folder.write("hpcdeploy.toml", "[image]\nspack = {}\n")
    folder.build()
    assert folder.look() == Freshness()
    folder.write("spack.yaml", "spack:\n  specs: [zlib-ng]\n  packages:\n    all:\n      require: target=zen3\n")
    assert folder.look().changes == ("spack.yaml changed",)


def test_unchanged_files_are_not_read_a_second_time(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_files, "GRAIN_NS", 0)  # the files were written just now
    folder.build()
    opened: list[str] = []
    monkeypatch.setattr(known_files, "sha256_of", lambda path: opened.append(str(path)))
    monkeypatch.setattr(known_files, "_content", lambda path: opened.append(str(path)))
    assert folder.look() == Freshness()
    assert opened == []


def test_a_file_that_was_touched_is_read_once_more_and_then_known(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_files, "GRAIN_NS", 0)
    folder.build()
    folder.write("pixi.lock", LOCK)
    before = folder.store.known_files(folder.path, "default")
    assert folder.look() == Freshness()
    after = folder.store.known_files(folder.path, "default")
    assert after != before
    assert folder.look() == Freshness()
    assert folder.store.known_files(folder.path, "default") == after


def test_credentials_of_the_project_are_not_kept(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_files, "GRAIN_NS", 0)
    folder.write("pixi.toml", MANIFEST.replace('"conda-forge"', '"https://me:word7@conda.example.org/c"'))
    folder.build()
    kept = folder.store.known_files(folder.path, "default")
    assert "word7" not in kept
    assert "export A=1" in kept


def test_another_release_is_a_note_and_what_changed_besides_is_a_change(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = folder.build()
    noted = BuildInputs.read(folder.store.latest_inputs(folder.path, built) or "")
    older = replace(noted, version="0.0.1", inputs="e" * 64)  # the version stands in the definition
    folder.store.built_from(folder.path, built, older.written())
    found = folder.look()
    assert found.changes == ()
    assert "0.0.1" in found.notes[0]
    folder.write("pixi.lock", LOCK + "\n# a word")
    assert folder.look().changes == ("pixi.lock changed",)
    assert __version__ in found.notes[0]


def test_the_record_of_another_build_does_not_count(folder: Folder) -> None:
    built = folder.build()
    folder.store.built(folder.path, replace(built, sha256="cd" * 32))
    assert folder.store.latest_inputs(folder.path, replace(built, sha256="cd" * 32)) is None


def metadata(labels: dict[str, str]) -> Part:
    values = {"data": {"attributes": {"labels": labels}}, "type": "container"}
    return Part(kind=JSON, name="inspect-metadata.json", content=json.dumps(values).encode())


def labelled(path: Path, labels: dict[str, str]) -> Path:
    path.write_bytes(sif(partition(squashfs()), metadata(labels)))
    return path


LOCKED = f"sha256:{hashlib.sha256(LOCK.encode()).hexdigest()}"
PREFIX = "io.github.hpcdeploy"


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({f"{PREFIX}.lock": LOCKED, f"{PREFIX}.environment": "default", f"{PREFIX}.version": "0.1"}, ""),
        ({f"{PREFIX}.lock": LOCKED, f"{PREFIX}.environment": "gpu"}, "environment (gpu in the image, default now)"),
        ({f"{PREFIX}.lock": "sha256:0", f"{PREFIX}.environment": "default"}, f"lock (sha256:0 in the image, {LOCKED} now)"),
    ],
)
def test_without_a_record_the_labels_of_the_image_count(folder: Folder, labels: dict[str, str], said: str) -> None:
    built = folder.build(note=False)
    image = labelled(folder.path / "default.sif", labels)
    folder.store.built(folder.path, replace(built, inputs="e" * 64, path=str(image)))
    found = folder.look()
    assert found.notes == ()
    assert said in " ".join(found.changes)
    assert bool(found.changes) is bool(said)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({f"{PREFIX}.lock": LOCKED, f"{PREFIX}.environment": "default"}, ""),
        ({f"{PREFIX}.lock": "sha256:0", f"{PREFIX}.environment": "default"}, "the label io.github.hpcdeploy.lock (sha256:0"),
        ({"org.example.other": "x"}, "was not built here"),
        (None, "was not built here"),
    ],
)
def test_an_image_that_was_built_elsewhere_is_known_by_its_labels(
    folder: Folder, labels: dict[str, str] | None, said: str
) -> None:
    """Its first bytes are all that is read; the file system begins behind the labels."""
    published = PublishedImage(repository="ghcr.io/me/x", manifest="c" * 64, sha256="d" * 64, size=10_000_000)

    def head(asked: PublishedImage, most: int) -> bytes:
        assert asked == published
        if labels is None:
            raise RegistryError("denied")
        content = sif(metadata(labels), partition(squashfs() + bytes(1_000_000))).ljust(published.size, b"\0")
        assert len(content) == published.size
        return content[:most]

    project = load_project(folder.path)

    def check(*, refuse: bool) -> tuple[str, ...]:
        return check_image(
            "default", project, folder.store, refuse=refuse, labels=lambda: labels_of_published(published, head)
        )

    assert said in " ".join(check(refuse=False))
    if not said:
        assert check(refuse=False) == ()
    if "label" in said:
        with pytest.raises(ConfigError, match="is older than the project: the label"):
            check(refuse=True)
    else:
        check(refuse=True)


@pytest.mark.parametrize("folder", ["no keys"], indirect=True)  # a release with keys records the inputs of each build
def test_without_a_record_the_same_inputs_are_the_same_image(folder: Folder) -> None:
    built = folder.build(note=False)
    image = labelled(folder.path / "default.sif", {f"{PREFIX}.lock": "sha256:0"})
    folder.store.built(folder.path, replace(built, path=str(image)))
    assert folder.look() == Freshness()


@pytest.mark.parametrize("where", [{"built_on": "hpc", "path": "/scratch/x.sif"}, {"path": "/nowhere/x.sif"}])
def test_without_record_and_labels_that_is_said(folder: Folder, where: dict[str, str]) -> None:
    built = folder.build(note=False)
    folder.store.built(folder.path, replace(built, **where))  # type: ignore[arg-type]
    found = folder.look()
    assert found.changes == ()
    assert "the record has no inputs for the image 'default'" in found.notes[0]
    assert "'hpcdeploy build default'" in found.notes[0]


def test_an_older_image_is_refused_or_noted(folder: Folder) -> None:
    project = load_project(folder.path)
    assert "was not built here" in check_image("default", project, folder.store, refuse=True)[0]
    folder.build()
    assert check_image("default", project, folder.store, refuse=True) == ()
    assert check_image("other.sif", project, folder.store, refuse=True) == ()
    for number in range(12):
        folder.write(f"app/{number:02}.py", "")
    with pytest.raises(ConfigError, match=r"app/07\.py is new and 4 more; run 'hpcdeploy build default'.*--allow-stale"):
        check_image("default", project, folder.store, refuse=True)
    [note] = check_image("default", project, folder.store, refuse=False)
    assert "the image 'default' is older than the project: app/00.py is new, app/01.py is new" in note


def test_files_that_git_lists_are_looked_at(folder: Folder) -> None:
    git = ["git", "-C", str(folder.path), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    folder.write("scripts/a.sh", ". ./b.sh\n")
    folder.write("scripts/b.sh", "export B=1\n")
    folder.write("pixi.toml", MANIFEST.replace("activate.sh", "scripts/a.sh"))
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "scripts/a.sh"], check=True)
    folder.build()
    subprocess.run([*git, "add", "scripts/b.sh"], check=True)
    assert folder.look().changes == ("scripts/b.sh is new",)


def test_the_digests_of_the_bases_are_known_for_the_next_build(folder: Folder) -> None:
    assert bases_before(folder.store, folder.path, "default") == {}
    folder.build()
    assert list(bases_before(folder.store, folder.path, "default").values()) == [f"sha256:{'e' * 64}"] * folder.keys
