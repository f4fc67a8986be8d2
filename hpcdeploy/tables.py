"""The tables of the record of runs and images (`hpcdeploy.store`), in SQLite's language."""

VERSION = 1
"""Of the tables (``PRAGMA user_version``). A change that an older hpcdeploy cannot work with gets a higher number."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, cluster TEXT NOT NULL, scheduler TEXT NOT NULL, submitted INTEGER NOT NULL,
    run TEXT NOT NULL, script BLOB NOT NULL, tasks TEXT NOT NULL DEFAULT '[]', asked INTEGER NOT NULL DEFAULT 0,
    ended INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS runs_by_age ON runs (submitted);
CREATE TABLE IF NOT EXISTS parcels (
    run TEXT PRIMARY KEY, parcels TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS resumed (
    run TEXT PRIMARY KEY
);
CREATE TABLE IF NOT EXISTS requests (
    run TEXT PRIMARY KEY, request BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS built (
    project TEXT NOT NULL, name TEXT NOT NULL, image TEXT NOT NULL, PRIMARY KEY (project, name)
);
CREATE TABLE IF NOT EXISTS built_on (
    project TEXT NOT NULL, name TEXT NOT NULL, cluster TEXT NOT NULL, image TEXT NOT NULL,
    PRIMARY KEY (project, name, cluster)
);
CREATE TABLE IF NOT EXISTS locks (
    project TEXT NOT NULL, name TEXT NOT NULL, built TEXT NOT NULL, lock BLOB NOT NULL, PRIMARY KEY (project, name)
);
CREATE TABLE IF NOT EXISTS inputs (
    project TEXT NOT NULL, name TEXT NOT NULL, sha256 TEXT NOT NULL, inputs BLOB NOT NULL, PRIMARY KEY (project, name)
);
CREATE TABLE IF NOT EXISTS known_files (
    project TEXT NOT NULL, name TEXT NOT NULL, files BLOB NOT NULL, PRIMARY KEY (project, name)
);
CREATE TABLE IF NOT EXISTS published (
    sha256 TEXT NOT NULL, repository TEXT NOT NULL, manifest TEXT NOT NULL, size INTEGER NOT NULL, pushed INTEGER NOT NULL,
    PRIMARY KEY (sha256, repository)
);
"""
