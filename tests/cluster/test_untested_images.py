"""An image whose ``%test`` did not run where it was built is tested on the login node before the first job."""

import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.flows.submit import plan_run
from hpcdeploy.job import Job
from hpcdeploy.remote.submission_script import submission
from hpcdeploy.staged_files import Delivery
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.cluster.conftest import ROOT, image_file
from tests.shared import OWN

HELLO = Job(name="hello", image="test", command=("true",))
DEFINITION = """\
Bootstrap: localimage
From: {image}

%test
    echo tested in "$PWD"
    {line}
"""


def make(lab: Lab, name: str, line: str) -> Delivery:
    """Build an image in the cluster's image cache, without running its ``%test``."""
    folder = f"{lab.scratch}/{OWN}/untested-{name}"
    definition = DEFINITION.format(image=image_file(lab), line=line)
    words = f"mkdir -p {folder} && cd {folder} && cat >x.def && apptainer build --notest x.sif x.def && sha256sum <x.sif"
    made = inside(lab, ["bash", "-c", words], user=lab.user, stdin=definition.encode())
    assert made.returncode == 0, made.stderr.decode()
    sha256 = made.stdout.decode().split()[0]
    cache = f"{lab.scratch}/{ROOT}/images"
    placed = inside(lab, ["bash", "-c", f"mkdir -p {cache} && mv {folder}/x.sif {cache}/{sha256}.sif"], user=lab.user)
    assert placed.returncode == 0, placed.stderr.decode()
    return Delivery(sha256=sha256, untested=True)


@pytest.fixture(scope="module")
def passing(lab: Lab, published: object) -> Iterator[Delivery]:
    assert published
    yield make(lab, "passing", "true")
    inside(lab, ["rm", "-rf", f"{lab.scratch}/{ROOT}/tested"], user=lab.user)


def submit(lab: Lab, cluster: Cluster, delivery: Delivery) -> "subprocess.CompletedProcess[bytes]":
    run = plan_run(HELLO, cluster, "slurm", delivery, now=time.time())
    script = submission(run, HELLO, cluster, delivery)
    return inside(lab, ["bash", "-l", "-s"], user=lab.user, stdin=script.encode())


def test_the_test_runs_once_before_the_first_job(lab: Lab, cluster: Cluster, passing: Delivery) -> None:
    first = submit(lab, cluster, passing)
    assert (first.returncode, b'"already": false' in first.stdout) == (0, True), first.stderr.decode()
    assert b"running %test of the image\n" in first.stderr
    assert b"tested in /\n" in first.stderr
    second = submit(lab, cluster, passing)
    assert second.returncode == 0
    assert b"%test" not in second.stderr
    assert b"%test" not in submit(lab, cluster, replace(passing, untested=False)).stderr


@pytest.mark.usefixtures("passing")
def test_after_a_failed_test_nothing_is_submitted(lab: Lab, cluster: Cluster) -> None:
    failing = make(lab, "failing", "echo the driver is too old; exit 3")
    for _ in range(2):
        done = submit(lab, cluster, failing)
        assert done.returncode == 11
        assert b"the driver is too old" in done.stderr
        assert b"%test of the image failed (its output is above), so nothing was submitted" in done.stderr
        assert b"HPCDEPLOY {" not in done.stdout
    assert not lab.seen(f"{lab.scratch}/{ROOT}/tested/{failing.sha256}").exists()


def test_a_login_node_that_starts_no_containers_is_named_and_the_job_is_submitted(
    lab: Lab, cluster: Cluster, passing: Delivery
) -> None:
    inside(lab, ["rm", "-rf", f"{lab.scratch}/{ROOT}/tested"], user=lab.user)
    # A site's configuration under which Apptainer refuses every SIF.
    program = f"{lab.scratch}/{OWN}/no-containers"
    forbid = "sed 's/^allow container sif = .*/allow container sif = no/' /etc/apptainer/apptainer.conf"
    line = f"{forbid} >{program}.conf && printf '#!/bin/sh\\nexec apptainer -c {program}.conf \"$@\"\\n' >{program}"
    assert inside(lab, ["bash", "-c", f"{line} && chmod +x {program}"], user=lab.user).returncode == 0
    done = submit(lab, replace(cluster, apptainer=program), passing)
    assert (done.returncode, b'"already": false' in done.stdout) == (0, True), done.stderr.decode()
    assert b"note: %test of the image has not run anywhere: this login node starts no containers" in done.stderr
