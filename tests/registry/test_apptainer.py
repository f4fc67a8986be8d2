"""Apptainer takes what was pushed, and what Apptainer pushed is understood: in the lab, with its registry."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from hpcdeploy.lab.inside import inside
from hpcdeploy.lab.state import Lab
from hpcdeploy.registry.credentials import Lookup
from hpcdeploy.registry.manifest import annotate
from hpcdeploy.registry.oci_client import OciClient
from hpcdeploy.registry.reference import parse_reference
from hpcdeploy.registry.retries import Patience
from tests.lab.test_running_lab import TINY_IMAGE
from tests.registry.images import CREATED, NOTHING, registry


def ask(lab: Lab, line: str) -> bytes:
    done = inside(lab, ["sh", "-c", line], user=lab.user, timeout=300)
    assert done.returncode == 0, (line, done.stdout, done.stderr)
    return done.stdout


@pytest.fixture(scope="module")
def built(lab: Lab) -> str:
    """A small image that Apptainer built, by its path in the lab."""
    return ask(lab, TINY_IMAGE).decode().strip()


def read_manifest(lab: Lab, path: str, tag: str) -> dict[str, Any]:
    reference = parse_reference(f"{lab.registry}/{path}")
    client = OciClient(
        reference, Lookup(credentials=None, consulted=()), plain_http=True, patience=Patience(), doing="Reading"
    )
    with client.session:
        manifest: dict[str, Any] = json.loads(client.read_manifest(tag)[0])
    return manifest


def test_apptainer_pulls_what_was_pushed_by_tag_and_by_digest(lab: Lab, built: str, tmp_path: Path) -> None:
    here = tmp_path / "tiny.sif"
    here.write_bytes(ask(lab, f"cat {built}"))
    sha256 = hashlib.sha256(here.read_bytes()).hexdigest()
    pushed = registry(lab.registry, "lab/pulled").push(
        here, sha256=sha256, created=CREATED, tags=("1.2.3", "latest"), annotations=annotate(version="1.2.3")
    )
    for address in (f"oras://{lab.registry}/lab/pulled:1.2.3", pushed.reference):
        line = f"cd $(mktemp -d) && apptainer -s pull --no-https got.sif {address} && sha256sum got.sif"
        assert ask(lab, line).decode().split()[0] == sha256
    assert ask(lab, f"APPTAINER_NOHTTPS=1 apptainer -s exec {pushed.reference} sh -c 'echo $GREETING'") == b"hello\n"


def test_what_apptainer_pushed_is_understood_and_has_the_same_form(lab: Lab, built: str, tmp_path: Path) -> None:
    ask(lab, f"apptainer -s push --no-https {built} oras://{lab.registry}/lab/theirs:one")
    here = tmp_path / "tiny.sif"
    here.write_bytes(ask(lab, f"cat {built}"))
    sha256 = hashlib.sha256(here.read_bytes()).hexdigest()
    theirs = registry(lab.registry, "lab/theirs", asked=":one").resolve()
    assert (theirs.sha256, theirs.size) == (sha256, here.stat().st_size)
    registry(lab.registry, "lab/theirs", found=NOTHING).download(theirs, tmp_path / "got.sif")
    assert (tmp_path / "got.sif").read_bytes() == here.read_bytes()

    registry(lab.registry, "lab/ours").push(here, sha256=sha256, created=CREATED, tags=("one",))
    ours, original = read_manifest(lab, "lab/ours", "one"), read_manifest(lab, "lab/theirs", "one")
    assert ours["mediaType"] == original["mediaType"]
    for key in ("mediaType", "digest", "size"):
        assert ours["config"][key] == original["config"][key]
        assert ours["layers"][0][key] == original["layers"][0][key]
    assert ours["layers"][0]["annotations"].keys() == original["layers"][0]["annotations"].keys()
