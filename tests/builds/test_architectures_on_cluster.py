"""An image for another processor, built by the real Apptainer: its steps cannot run here, so it has none."""

import os
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.apptainer.build_record import read_record
from hpcdeploy.apptainer.sif import read_sif
from hpcdeploy.architecture import AMD64, ARM64, of_machine
from hpcdeploy.cluster import Cluster
from hpcdeploy.config.project import JobSettings, Project
from hpcdeploy.errors import BuildError, ConfigError
from hpcdeploy.flows.build import build_on, fetch_built
from hpcdeploy.flows.images import RegistryLookup
from hpcdeploy.flows.plan import Confirmations, Requested, plan
from hpcdeploy.flows.processors import nodes_by
from hpcdeploy.image import BuiltImage, Definition, ImageSettings
from hpcdeploy.registry import lookup
from hpcdeploy.source import DefinitionSource
from hpcdeploy.store import Store
from hpcdeploy.transport.contract import Transport
from hpcdeploy_lab import oci
from hpcdeploy_lab.state import Lab
from tests.registry import containers as made
from tests.sessions import session
from tests.shared import OWN

MACHINE = os.uname().machine
OTHER = ARM64 if of_machine(MACHINE) == AMD64 else AMD64
ELF_MACHINE = {AMD64: 62, ARM64: 183}[OTHER]
PROGRAM = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack("<HHI", 2, ELF_MACHINE, 1) + bytes(40)
"""The header of a program for that processor (elf(5): EI_CLASS, EI_DATA, e_type, e_machine, e_version)."""


@pytest.fixture(scope="module")
def base(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Push an image for that processor, whose shell is such a program."""
    folder, path = tmp_path_factory.mktemp("layer"), f"{OWN}/other-processor"
    names = ("bin/sh", "usr/bin/env", "etc/passwd", "dev/.keep", "proc/.keep", "sys/.keep", "tmp/.keep", "root/.keep")
    layer = oci.write_layer(oci.pack([(name, PROGRAM, 0o755) for name in names], 0), folder)
    content = (folder / "blobs" / "sha256" / layer.digest).read_bytes()
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{layer.diff_id}"]}
    config = made.document(made.CONFIG["oci"], {"architecture": OTHER.name, "os": "linux", "config": {}, "rootfs": rootfs})
    listed = {"mediaType": f"{made.OCI}.layer.v1.tar+gzip", "digest": f"sha256:{layer.digest}", "size": len(content)}
    document = {"schemaVersion": 2, "mediaType": made.MANIFEST["oci"], "config": config.descriptor, "layers": [listed]}
    for blob in (content, config.content):
        made.put_blob(lab.registry, path, blob)
    made.put_manifest(lab.registry, path, "v1", made.document(made.MANIFEST["oci"], document))
    return f"{lab.registry}/{path}:v1"


def definition(base: str, *, post: str = "") -> Definition:
    text = f"Bootstrap: docker\nFrom: {base}\n{post}"
    return Definition(name="other", text=text, files=(), build_args=(), inputs=("ab" if post else "cd") * 32)


@pytest.fixture(scope="module")
def built(base: str, place: Cluster, transport: Transport) -> BuiltImage:
    return build_on(definition(base), session(place, transport))


def test_the_record_has_the_architecture_that_apptainer_wrote(
    built: BuiltImage, place: Cluster, transport: Transport, tmp_path: Path
) -> None:
    assert built.architecture == OTHER.name
    fetched = fetch_built(built, session(place, transport), tmp_path / "other.sif", tmp_path / "notes")
    with (tmp_path / "other.sif").open("rb") as file:
        assert read_sif(file, "other.sif").architecture == OTHER.name
    record = read_record(tmp_path / "other.sif")
    assert record is not None
    assert record.architecture == fetched.architecture == OTHER.name


def test_a_job_with_it_is_refused(built: BuiltImage, place: Cluster, transport: Transport, tmp_path: Path) -> None:
    store = Store(tmp_path / "runs.db")
    store.built(tmp_path, built)
    images = {"other": ImageSettings(name="other", source=DefinitionSource(file="x.def"))}
    jobs = {"run": JobSettings(image="other", command=("true",))}
    with pytest.raises(ConfigError, match=f"the image other is for {OTHER.platform}"):
        plan(
            Project(root=tmp_path, images=images, jobs=jobs, clusters={place.name: place}),
            store,
            Requested(job="run"),
            RegistryLookup(resolve=lookup.resolve, plain_http=lookup.uses_plain_http),
            now=0,
            confirm=Confirmations(nodes=nodes_by(store, lambda cluster: session(cluster, transport))),
        )


def test_a_step_that_cannot_run_names_the_cause(base: str, place: Cluster, transport: Transport) -> None:
    with pytest.raises(BuildError, match="Probable cause: the base image is for another processor"):
        build_on(definition(base, post="%post\n    true\n"), session(place, transport))


def test_a_build_for_another_processor_is_refused_before_anything_is_uploaded(
    base: str, place: Cluster, transport: Transport
) -> None:
    wanted = replace(definition(base), architecture=OTHER, inputs="ef" * 32)
    steps: list[str] = []
    with pytest.raises(BuildError, match=rf"is for {OTHER.platform} .*, but this login node is {MACHINE}: build it on"):
        build_on(wanted, session(place, transport), report=lambda event: steps.append(event.text))
    assert not any("uploading" in step for step in steps)
