"""Files that look like images, and registries to put them in."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from hpcdeploy.registry.client import Registry
from hpcdeploy.registry.credentials import Credentials, Lookup
from hpcdeploy.registry.reference import parse_reference
from hpcdeploy.registry.retries import RetryPolicy

HEAD = b"#!/usr/bin/env run-singularity\n\0SIF_MAGIC\0"
CREATED = "2026-01-02T03:04:05Z"
NOTHING = Lookup(credentials=None, consulted=())
SWIFT = RetryPolicy(connect=5.0, read=5.0, upload=5.0, first_wait=0.0)


@dataclass(frozen=True)
class Image:
    """A file and its sha256."""

    path: Path
    sha256: str
    content: bytes


def make_image(folder: Path, *, size: int = 3_000_000, seed: int = 7, name: str = "built.sif") -> Image:
    """Write a file with a SIF's first bytes and more than two blocks after them."""
    content = (HEAD + bytes((i * seed) % 251 for i in range(4096)) * (size // 4096 + 1))[:size]
    path = folder / name
    path.write_bytes(content)
    return Image(path, hashlib.sha256(content).hexdigest(), content)


def registry(
    host: str, path: str = "lab/train", *, asked: str = "", found: Lookup = NOTHING, policy: RetryPolicy = SWIFT
) -> Registry:
    """Give the client for a repository of a test's registry."""
    return Registry(parse_reference(f"oras://{host}/{path}{asked}"), found, policy=policy)


def user(name: str, password: str) -> Lookup:
    """Credentials as if they were found in a file."""
    return Lookup(credentials=Credentials(source="a file", username=name, password=password), consulted=("a file",))
