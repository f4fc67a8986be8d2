"""The running lab is a real cluster: both schedulers, containers, a registry, a login over SSH, on loopback only."""

import json
import urllib.request
from pathlib import Path

import paramiko
import pytest

from hpcdeploy_lab import cluster
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.settings import default_settings
from hpcdeploy_lab.state import Lab
from tests.lab.observing import Ask, eventually

TINY_IMAGE = """\
set -eu
work=$(mktemp -d)
cd "$work"
mkdir -p root/bin root/etc root/tmp root/proc root/sys root/dev root/home root/var/tmp root/root
for program in /bin/sh /usr/bin/env /usr/bin/cat; do
    cp -L "$program" root/bin/
    ldd "$program" | grep -o '/[^ ]*' | while read -r library; do
        mkdir -p "root$(dirname "$library")"
        cp -L "$library" "root$library"
    done
done
printf 'Bootstrap: localimage\\nFrom: root\\n%%environment\\nexport GREETING=hello\\n' > tiny.def
apptainer build tiny.sif tiny.def >&2
echo "$work/tiny.sif"
"""

CONDOR_JOB = """\
universe = container
container_image = {image}
executable = /bin/sh
transfer_executable = false
arguments = "-c 'echo $GREETING $CUDA_VISIBLE_DEVICES'"
request_gpus = 1
request_cpus = 1
request_memory = 100
should_transfer_files = YES
output = condor.out
error = condor.err
log = condor.log
queue
"""


def test_two_idle_nodes_claim_two_gpus_each(lab: Lab, ask: Ask) -> None:
    lines = ask(lab, "sinfo -h -N -p debug -o '%N %G'").splitlines()
    assert lines == ["node1 gpu:2", "node2 gpu:2"]


def test_a_second_partition_is_offered_and_debug_is_the_default(lab: Lab, ask: Ask) -> None:
    assert ask(lab, "sinfo -h -o %P").split() == ["debug*", "gpu"]


def test_a_job_with_a_gpu_sees_it_and_the_books_show_the_job(lab: Lab, ask: Ask) -> None:
    line = "sbatch --parsable --wait --gres=gpu:1 -o gpu.out --wrap 'echo \"gpu=$CUDA_VISIBLE_DEVICES scratch=$SCRATCH\"'"
    job = ask(lab, line).strip()
    printed = ask(lab, "cat gpu.out")
    assert printed in {f"gpu={number} scratch={lab.scratch}\n" for number in (0, 1)}
    assert eventually(lambda: ask(lab, f"sacct -nPX -j {job} -o State,ExitCode,Account").strip() == "COMPLETED|0:0|research")
    assert "gres/gpu=1" in ask(lab, f"sacct -nPX -j {job} -o AllocTRES")


def test_a_job_may_span_both_nodes(lab: Lab, ask: Ask) -> None:
    ask(lab, "sbatch --wait -N2 -o span.out --wrap 'srun printenv SLURMD_NODENAME'")
    assert sorted(ask(lab, "cat span.out").split()) == ["node1", "node2"]


def test_squeue_speaks_json(lab: Lab, ask: Ask) -> None:
    assert "jobs" in json.loads(ask(lab, "squeue --json"))


def test_htcondor_shows_one_partitionable_slot_with_gpus_and_containers(lab: Lab, ask: Ask) -> None:
    slots = ask(lab, "condor_status -af SlotType TotalGPUs HasSIF").splitlines()
    # A job of another test has a slot of its own meanwhile.
    assert [slot for slot in slots if not slot.startswith("Dynamic")] == ["Partitionable 2 true"]


@pytest.mark.container
def test_a_container_built_by_the_user_runs_there_in_slurm_and_in_htcondor(lab: Lab, ask: Ask) -> None:
    image = ask(lab, TINY_IMAGE).strip()
    shared = f"{lab.home}/tiny.sif"
    ask(lab, f"mv {image} {shared}")
    greeting = f"apptainer exec --nv {shared} sh -c 'echo $GREETING'"
    assert ask(lab, greeting) == "hello\n"
    ask(lab, f'sbatch --wait -o slurm.out -e slurm.err --wrap "{greeting.replace("$", chr(92) + "$")}"')
    assert ask(lab, "cat slurm.out") == "hello\n"
    done = inside(lab, ["tee", "condor.sub"], user=lab.user, stdin=CONDOR_JOB.format(image=shared).encode(), timeout=60)
    assert done.returncode == 0
    ask(lab, "rm -f condor.log; condor_submit condor.sub && condor_wait -wait 100 condor.log")
    assert ask(lab, "cat condor.out") in {"hello GPU-0\n", "hello GPU-1\n"}


def test_the_registry_answers_where_the_lab_says(lab: Lab) -> None:
    with urllib.request.urlopen(f"http://{lab.registry}/v2/", timeout=10) as answer:
        assert answer.status == 200


def test_everything_listens_on_loopback_only(lab: Lab) -> None:
    listed = inside(lab, ["ss", "-H", "-l", "-n", "-p", "-t", "-u"]).stdout.decode().splitlines()
    of_the_lab = [line.split() for line in listed if "users:(" in line]  # ss names processes of its own namespace only
    addresses = {fields[4].rpartition(":")[0] for fields in of_the_lab}
    numbers = {int(fields[4].rpartition(":")[2]) for fields in of_the_lab}
    assert addresses == {"127.0.0.1"}
    absent = set() if "htcondor" in lab.schedulers else {lab.ports.condor}
    assert set(lab.ports.numbers()) - absent <= numbers


def test_the_written_ssh_configuration_lets_its_key_in_with_the_host_key_checked(lab: Lab) -> None:
    with lab.ssh_config.open() as lines:
        found = paramiko.SSHConfig()
        found.parse(lines)
    host = found.lookup(lab.host)
    client = paramiko.SSHClient()
    client.load_host_keys(host["userknownhostsfile"].strip('"'))
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    key = host["identityfile"][0].strip('"')
    client.connect(
        host["hostname"], int(host["port"]), host["user"], key_filename=key, allow_agent=False, look_for_keys=False
    )
    try:
        _, stdout, _ = client.exec_command("echo $USER $SCRATCH; pwd")
        assert stdout.read().decode().split() == [lab.user, lab.scratch, lab.home]
    finally:
        client.close()
    assert Path(key).stat().st_mode & 0o777 == 0o600


def test_the_user_may_build_with_fakeroot(lab: Lab, ask: Ask) -> None:
    assert f"{lab.user}:" in ask(lab, "cat /etc/subuid")
    assert f"{lab.user}:" in ask(lab, "cat /etc/subgid")


def test_a_second_up_changes_nothing(lab: Lab) -> None:
    said: list[str] = []
    assert cluster.up(default_settings(), said.append).init == lab.init
    version = inside(lab, ["squeue", "--version"]).stdout.decode().split()[1]
    assert said == [f"the lab runs already (process {lab.init_pid}), with Slurm {version}"]


def test_it_has_the_release_of_slurm_that_was_chosen(lab: Lab) -> None:
    version = inside(lab, ["squeue", "--version"]).stdout.decode().split()[1]
    assert version.startswith(f"{default_settings().slurm}.")
    assert lab.slurm == default_settings().slurm
    assert cluster.status(default_settings())["slurm"] == version
