"""Apptainer takes what was pushed, and what Apptainer pushed is understood: in the lab, with its registry."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpcdeploy.apptainer.contents import read_contents
from hpcdeploy.flows.freshness import labels_of_published
from hpcdeploy.registry.credentials import Lookup, credential_files, find_credentials, login_command
from hpcdeploy.registry.lookup import head_of
from hpcdeploy.registry.manifest import annotate
from hpcdeploy.registry.oci_client import OciClient
from hpcdeploy.registry.reference import parse_reference
from hpcdeploy.registry.retries import RetryPolicy
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.lab.test_running_lab import TINY_IMAGE
from tests.registry.images import CREATED, NOTHING, registry
from tests.registry.token_service import PASSWORD, USER
from tests.shared import OWN


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
        reference, Lookup(credentials=None, consulted=()), plain_http=True, policy=RetryPolicy(), doing="Reading"
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


def test_the_labels_of_a_pushed_image_are_in_its_first_bytes(lab: Lab, built: str, tmp_path: Path) -> None:
    here = tmp_path / "tiny.sif"
    here.write_bytes(ask(lab, f"cat {built}"))
    sha256 = hashlib.sha256(here.read_bytes()).hexdigest()
    pushed = registry(lab.registry, "lab/labels").push(here, sha256=sha256, created=CREATED)
    with here.open("rb") as file:
        labels = read_contents(file, "tiny.sif").labels
    assert labels["org.label-schema.build-arch"] == "amd64"
    assert labels_of_published(pushed, head_of) == labels


@pytest.mark.parametrize("variable", ["APPTAINER_CONFIGDIR", "SINGULARITY_CONFIGDIR"])
def test_a_password_that_apptainer_keeps_in_a_folder_of_its_own_is_found(
    lab: Lab, basic_host: str, variable: str, tmp_path: Path
) -> None:
    folder = f"{lab.scratch}/{OWN}/{variable}"
    login = f"apptainer -s registry login --username {USER} --password '{PASSWORD}' oras://{basic_host}"
    written = ask(lab, f"mkdir -p {folder} && {variable}={folder} {login} && ls {folder}").decode().split()
    assert "config.json" in written
    assert "docker-config.json" not in written
    files = credential_files({variable: str(lab.seen(folder))}, tmp_path)
    found = find_credentials(parse_reference(f"{basic_host}/x"), files).credentials
    assert found is not None
    assert (found.username, found.password) == (USER, PASSWORD)
    ask(lab, f"rm -r {folder}")


def test_logging_in_again_as_the_message_says_replaces_the_wrong_password(lab: Lab, basic_host: str, tmp_path: Path) -> None:
    """The wrong one is in a file that Apptainer would not have written to by itself."""
    folder = f"{lab.scratch}/{OWN}/docker"
    wrong = json.dumps({"auths": {basic_host: {"auth": "bWU6d3Jvbmc="}}})
    ask(lab, f"mkdir -p {folder} && echo '{wrong}' > {folder}/config.json")
    reference = parse_reference(f"{basic_host}/x")
    inside_lab = credential_files({"DOCKER_CONFIG": folder}, tmp_path)[-1:]
    files = credential_files({"DOCKER_CONFIG": str(lab.seen(folder))}, tmp_path)
    before = find_credentials(reference, files).credentials
    assert before is not None
    assert before.password == "wrong"
    said = login_command(basic_host, replace(before, source=str(inside_lab[0]))).replace("USER", USER)
    ask(lab, said.replace("login ", f"login --password '{PASSWORD}' "))
    after = find_credentials(reference, files).credentials
    assert after is not None
    assert (after.username, after.password) == (USER, PASSWORD)
    ask(lab, f"rm -r {folder}")
