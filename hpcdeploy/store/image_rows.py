"""Record the latest build of each image, with its inputs and lock file, and also cached checksums of files, and pushes."""

import json
import os
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from hpcdeploy.checked_values import typed
from hpcdeploy.image import BuiltImage, PublishedImage
from hpcdeploy.store.record_file import RecordFile, bytes_value, json_value, text_value

_LATER = ("environment", "builder", "tools", "architecture", "untested")
"""Fields of a build that are in a table of their own, because older releases reject a build with unknown fields."""

_KEYS_TABLE = (
    "CREATE TABLE IF NOT EXISTS keys (sha256 TEXT, inputs TEXT, later TEXT, PRIMARY KEY (sha256, inputs)) WITHOUT ROWID"
)


class ImageRows(RecordFile):
    """The methods of the record for images. Every method is one transaction.

    `project` is the folder of a project; links in its path are followed.
    """

    def built(self, project: Path, image: BuiltImage) -> None:
        """Record `image` as the latest build of its name in `project`, and on its cluster if it has one."""
        values = asdict(image)
        later = json.dumps({name: values.pop(name) for name in _LATER})
        row = (str(project.resolve()), image.name, json.dumps(values))
        cluster = image.built_on or image.cached_on
        with self.opened() as connection:
            connection.execute(_KEYS_TABLE)
            connection.execute("INSERT OR REPLACE INTO keys VALUES (?, ?, ?)", (image.sha256, image.inputs, later))
            # This table is created here and not by the schema, so that older releases can still use the file. They recorded
            # only the latest builds, so these are copied into the new table.
            connection.execute("CREATE TABLE IF NOT EXISTS builds (image TEXT PRIMARY KEY) WITHOUT ROWID")
            connection.execute("INSERT OR IGNORE INTO builds SELECT image FROM built UNION SELECT image FROM built_on")
            connection.execute("INSERT OR IGNORE INTO builds VALUES (?)", row[2:])
            connection.execute("INSERT OR REPLACE INTO built VALUES (?, ?, ?)", row)
            if cluster:
                connection.execute("INSERT OR REPLACE INTO built_on VALUES (?, ?, ?, ?)", (*row[:2], cluster, row[2]))

    def has_built(self, image: BuiltImage) -> bool:
        """Tell whether the record has a build with the sha256 and inputs of `image`, on this machine or on a cluster."""
        with self.opened() as connection:
            rows = connection.execute("SELECT image FROM built UNION SELECT image FROM built_on").fetchall()
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'builds'").fetchone():
                rows += connection.execute("SELECT image FROM builds").fetchall()
        return any(_is_build_of(row[0], image) for row in rows)

    def latest_build(self, project: Path, name: str) -> BuiltImage | None:
        """Return the latest build of a project's image; None if this record has no build of the image."""
        with self.opened() as connection:
            row = connection.execute(
                "SELECT image FROM built WHERE project = ? AND name = ?", (str(project.resolve()), name)
            ).fetchone()
        return self._built(name, row)

    def latest_build_on(self, project: Path, name: str, cluster: str) -> BuiltImage | None:
        """Return the latest build of a project's image for one cluster; None if this record has none."""
        with self.opened() as connection:
            row = connection.execute(
                "SELECT image FROM built_on WHERE project = ? AND name = ? AND cluster = ?",
                (str(project.resolve()), name, cluster),
            ).fetchone()
        return self._built(name, row)

    def _built(self, name: str, row: Sequence[object] | None) -> BuiltImage | None:
        with self.reading(f"the latest build of the image {name!r}", f"Run 'hpcdeploy build {name}' again"):
            return None if row is None else self._with_keys(typed(BuiltImage, json_value(row[0])))

    def built_images(self) -> list[tuple[str, BuiltImage]]:
        """Return the latest build of each image of each project, with the project's folder; damaged rows are left out."""
        with self.opened() as connection:
            rows = connection.execute("SELECT project, image FROM built ORDER BY project, name").fetchall()
        found = []
        for project, row in rows:
            with suppress(ValueError, TypeError):
                found.append((text_value(project), self._with_keys(typed(BuiltImage, json_value(row)))))
        return found

    def _with_keys(self, image: BuiltImage) -> BuiltImage:
        """Return `image` with the fields that `built` recorded in a table of their own."""
        with self.opened() as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'keys'").fetchone():
                return image
            key = (image.sha256, image.inputs)
            row = connection.execute("SELECT later FROM keys WHERE sha256 = ? AND inputs = ?", key).fetchone()
        return typed(BuiltImage, {**asdict(image), **json_value(row[0])}) if row else image

    def locked(self, project: Path, image: BuiltImage, lock: bytes) -> None:
        """Record the content of the lock file of a build, so that changes since then can be listed without the image."""
        row = (str(project.resolve()), image.name, image.created, zlib.compress(lock))
        with self.opened() as connection:
            connection.execute("INSERT OR REPLACE INTO locks VALUES (?, ?, ?, ?)", row)

    def latest_lock(self, project: Path, name: str) -> tuple[str, bytes] | None:
        """Return the time (RFC 3339) and the lock file of an image's latest build with a lock file.

        The result is None if there is no such build.
        """
        with self.opened() as connection:
            row = connection.execute(
                "SELECT built, lock FROM locks WHERE project = ? AND name = ?", (str(project.resolve()), name)
            ).fetchone()
        with self.reading(f"the lock file of the image {name!r}", f"Run 'hpcdeploy build {name}' again"):
            return None if row is None else (text_value(row[0]), zlib.decompress(bytes_value(row[1])))

    def built_from(self, project: Path, image: BuiltImage, inputs: str) -> None:
        """Record the inputs of an image's latest build, as the text that `hpcdeploy.flows.freshness` wrote."""
        row = (str(project.resolve()), image.name, image.sha256, zlib.compress(inputs.encode()))
        with self.opened() as connection:
            connection.execute("INSERT OR REPLACE INTO inputs VALUES (?, ?, ?, ?)", row)

    def latest_inputs(self, project: Path, image: BuiltImage) -> str | None:
        """Return the inputs of the build with the sha256 of `image`; None if they were not recorded."""
        with self.opened() as connection:
            row = connection.execute(
                "SELECT inputs FROM inputs WHERE project = ? AND name = ? AND sha256 = ?",
                (str(project.resolve()), image.name, image.sha256),
            ).fetchone()
        advice = f"Run 'hpcdeploy build {image.name}' again"
        with self.reading(f"what the image {image.name!r} was built from", advice):
            return None if row is None else zlib.decompress(bytes_value(row[0])).decode()

    def know_files(self, project: Path, name: str, files: str) -> None:
        """Record the cache of the files that an image is built from, as the text of `KnownFiles.written`."""
        row = (str(project.resolve()), name, zlib.compress(files.encode(), 1))
        with self.opened() as connection:
            connection.execute("INSERT OR REPLACE INTO known_files VALUES (?, ?, ?)", row)

    def known_files(self, project: Path, name: str) -> str:
        """Return the cache that `know_files` recorded; empty if there is none, or if the row is damaged."""
        with self.opened() as connection:
            row = connection.execute(
                "SELECT files FROM known_files WHERE project = ? AND name = ?", (str(project.resolve()), name)
            ).fetchone()
        try:
            return "" if row is None else zlib.decompress(bytes_value(row[0])).decode()
        except (ValueError, TypeError, zlib.error):  # without the cache, the files are read again
            return ""

    def wrote(self, path: Path, sha256: str) -> None:
        """Record the sha256 of the generated file that was written to `path` last."""
        with self.opened() as connection:
            # This table is created here and not by the schema, so that older releases can still use the file.
            connection.execute(
                "CREATE TABLE IF NOT EXISTS written (path BLOB PRIMARY KEY, sha256 TEXT NOT NULL) WITHOUT ROWID"
            )
            connection.execute("INSERT OR REPLACE INTO written VALUES (?, ?)", (os.fsencode(path.resolve()), sha256))

    def has_written(self, path: Path, sha256: str) -> bool:
        """Tell whether the last generated file that was written to `path` had this sha256."""
        with self.opened() as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'written'").fetchone():
                return False
            found = connection.execute(
                "SELECT sha256 FROM written WHERE path = ?", (os.fsencode(path.resolve()),)
            ).fetchone()
        return found is not None and found[0] == sha256

    def know_architecture(self, sha256: str, name: str) -> None:
        """Record the architecture in the header of the image with that sha256, such as ``arm64``."""
        with self.opened() as connection:
            # This table is created here and not by the schema, so that older releases can still use the file.
            connection.execute("CREATE TABLE IF NOT EXISTS headers (sha256 TEXT PRIMARY KEY, architecture TEXT NOT NULL)")
            connection.execute("INSERT OR REPLACE INTO headers VALUES (?, ?)", (sha256, name))

    def known_architecture(self, sha256: str) -> str:
        """Return the architecture that `know_architecture` recorded; empty if there is none."""
        with self.opened() as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'headers'").fetchone():
                return ""
            row = connection.execute("SELECT architecture FROM headers WHERE sha256 = ?", (sha256,)).fetchone()
        return str(row[0]) if row else ""

    def published(self, image: PublishedImage, *, when: int) -> None:
        """Record that an image was pushed, at `when` (seconds since 1970)."""
        row = (image.sha256, image.repository, image.manifest, image.size, when)
        with self.opened() as connection:
            connection.execute("INSERT OR REPLACE INTO published VALUES (?, ?, ?, ?, ?)", row)

    def publications(self, sha256: str) -> list[PublishedImage]:
        """Return the recorded pushes of the image with that sha256, the latest push first."""
        with self.opened() as connection:
            rows = connection.execute(
                "SELECT repository, manifest, sha256, size FROM published WHERE sha256 = ? ORDER BY pushed DESC, rowid DESC",
                (sha256,),
            ).fetchall()
        names = ("repository", "manifest", "sha256", "size")
        with self.reading(f"where the image {sha256} was pushed", "Push the image again"):
            return [typed(PublishedImage, dict(zip(names, row, strict=True))) for row in rows]


def _is_build_of(text: object, image: BuiltImage) -> bool:
    """Tell whether a row is a build with the sha256 and inputs of `image`; false for a damaged row."""
    if image.sha256 not in str(text):
        return False
    try:
        values = json_value(text)
    except (ValueError, TypeError):
        return False
    return isinstance(values, dict) and (values.get("sha256"), values.get("inputs")) == (image.sha256, image.inputs)
