"""Add the project of each run to a record of an older hpcdeploy, and move a project's rows to a new folder."""

import json
import os
import sqlite3
import zlib

_OF_PROJECTS = ("built", "built_on", "locks", "inputs", "known_files")
"""The tables whose rows belong to a project."""


def add_projects(connection: sqlite3.Connection) -> None:
    """Add the column ``project`` to the table of runs, and fill it where it is NULL.

    With this column the runs of a project can be selected. The version of the tables does not change, because an older
    hpcdeploy can still use the file: it names the columns that it writes, so ``project`` is NULL in its rows. The project of
    these rows is taken from the request of the run; it is empty if there is no request.
    """
    if not _has_projects(connection):
        connection.execute("BEGIN IMMEDIATE")
        if not _has_projects(connection):  # checked again, because another process may have added the column meanwhile
            connection.execute("ALTER TABLE runs ADD COLUMN project TEXT")
            connection.execute("CREATE INDEX runs_by_project ON runs (project, submitted)")
        connection.commit()
    missing = connection.execute(
        "SELECT runs.rowid, request FROM runs LEFT JOIN requests ON requests.run = runs.id WHERE project IS NULL"
    ).fetchall()
    if missing:
        rows = [(_project_of(request), row) for row, request in missing]
        with connection:
            connection.executemany("UPDATE runs SET project = CAST(? AS TEXT) WHERE rowid = ?", rows)


def _has_projects(connection: sqlite3.Connection) -> bool:
    return any(row[1] == "project" for row in connection.execute("PRAGMA table_info(runs)"))


def move_project(connection: sqlite3.Connection, old: bytes, new: bytes) -> int:
    """Assign all rows of the project folder `old` to the folder `new`, and return the number of moved runs.

    If both folders have a row for the same image, the row of `new` is kept, and the row of `old` is deleted. The paths are
    bytes, because they may be invalid UTF-8.
    """
    change = "SET project = CAST(? AS TEXT) WHERE project = CAST(? AS TEXT)"
    for table in _OF_PROJECTS:
        connection.execute(f"UPDATE OR IGNORE {table} {change}", (new, old))
        connection.execute(f"DELETE FROM {table} WHERE project = CAST(? AS TEXT)", (old,))  # noqa: S608
    return connection.execute(f"UPDATE runs {change}", (new, old)).rowcount


def _project_of(request: object) -> bytes:
    """Return the project's folder in a stored request; empty if the request is missing, has no project, or is damaged."""
    try:
        project = json.loads(zlib.decompress(request))["project"] if isinstance(request, bytes) else ""
        return os.fsencode(os.path.realpath(project)) if project else b""
    except (ValueError, TypeError, KeyError, RecursionError, zlib.error):
        return b""
