"""The texts of a lab follow from its settings and ports alone."""

import configparser
import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.errors import LabError
from hpcdeploy_lab import access, condor, daemons, packages, rootfs, slurm, state
from hpcdeploy_lab.machine import REFUSALS, check_user_namespaces
from hpcdeploy_lab.mirror import Mirror
from hpcdeploy_lab.process import Process
from hpcdeploy_lab.settings import LabSettings, Ports, default_settings

PORTS = Ports(ssh=21, registry=22, condor=23, slurmctld=24, slurmdbd=25, slurmd=(26, 27))
SETTINGS = LabSettings(cache=Path("/cache"), state=Path("/state with space"))


def test_folders_follow_the_xdg_variables_and_a_name_has_its_own_state() -> None:
    environment = {"HOME": "/h", "XDG_CACHE_HOME": "/c", "XDG_STATE_HOME": "/s"}
    found = default_settings(environment)
    assert (found.cache, found.state) == (Path("/c/hpcdeploy/lab"), Path("/s/hpcdeploy/lab"))
    assert found.slurm == "24.11"
    bare = default_settings({"HOME": "/h"}, name="other")
    assert (bare.cache, bare.state) == (Path("/h/.cache/hpcdeploy/lab"), Path("/h/.local/state/hpcdeploy/other"))


def test_each_node_has_its_line_and_port() -> None:
    lines = slurm.slurm_conf(SETTINGS, PORTS).splitlines()
    nodes = [line for line in lines if line.startswith("NodeName=")]
    assert [line.split()[0] for line in nodes] == ["NodeName=node1", "NodeName=node2"]
    assert [line.split()[3] for line in nodes] == ["Port=26", "Port=27"]
    assert all("Gres=gpu:2" in line and "NodeAddr=127.0.0.1" in line for line in nodes)
    assert "TmpFS=/var/spool/slurm/%n/tmp" in lines
    assert "for node in node1 node2;" in daemons.prepare_script(SETTINGS)
    assert "SlurmctldPort=24" in lines
    assert "MaxArraySize=20001" in lines


def test_settings_reach_the_text_that_they_name() -> None:
    chosen = replace(SETTINGS, min_job_age=2, cpus=3, memory_mb=777, gpus=1, name="other", task_affinity=True)
    text = slurm.slurm_conf(chosen, PORTS)
    for expected in (
        "TaskPlugin=task/affinity",
        "MinJobAge=2",
        "CPUs=3",
        "RealMemory=777",
        "Gres=gpu:1",
        "ClusterName=other",
    ):
        assert expected in text
    assert "pretend-gpu[0-0]" in slurm.gres_conf(chosen)
    assert "MEMORY = 777" in condor.condor_conf(chosen, PORTS)
    assert "NUM_CPUS = 6" in condor.condor_conf(chosen, PORTS)
    assert daemons.files(chosen, PORTS)[condor.GPUS].startswith('DetectedGPUs="GPU-0"\n')
    assert daemons.files(replace(chosen, gpus=0), PORTS)[condor.GPUS] == "DetectedGPUs=0\n"


def test_without_accounting_no_file_and_no_daemon_speaks_of_a_database() -> None:
    bare = replace(SETTINGS, accounting=False)
    assert "AccountingStorage" not in slurm.slurm_conf(bare, PORTS)
    names = [service.name for service in daemons.services(bare, PORTS)]
    assert names == ["sshd", "registry", "munge", "slurmctld", "node1", "node2", "condor"]
    assert json.loads(daemons.plan(bare, PORTS))["finish"] == []
    assert "AccountingStoragePort=25" in slurm.slurm_conf(SETTINGS, PORTS)


@pytest.mark.parametrize("accounting", [True, False])
def test_every_daemon_waits_only_for_daemons_listed_before_it(accounting: bool) -> None:
    seen: set[str] = set()
    for service in daemons.services(replace(SETTINGS, accounting=accounting), PORTS):
        assert set(service.after) <= seen
        seen.add(service.name)


def test_no_text_names_an_address_other_than_loopback() -> None:
    for text in daemons.files(SETTINGS, PORTS).values():
        assert "0.0.0.0" not in text
    assert "ListenAddress 127.0.0.1\nPort 21\n" in daemons.sshd_config(SETTINGS, PORTS)
    assert "addr: 127.0.0.1:22" in daemons.registry_config(PORTS)


def test_an_older_sshd_is_not_told_of_penalties_it_does_not_know() -> None:
    assert "PerSourcePenalties" in daemons.sshd_config(SETTINGS, PORTS)
    assert "PerSourcePenalties" not in daemons.sshd_config(replace(SETTINGS, slurm="22.05"), PORTS)


def test_an_older_suite_is_asked_for_what_it_has_and_for_nothing_else() -> None:
    older = replace(SETTINGS, slurm="22.05")
    argv = rootfs.command(older, Mirror("http://mirror.example/debian", ()), Path("/cache/d.part"), Path("/cache/p"))
    included = set(next(word for word in argv if word.startswith("--include=")).removeprefix("--include=").split(","))
    assert {"slurm-wlm=22.05.*", "slurmdbd"} <= included
    assert included.isdisjoint({"apptainer", "htcondor", "oras"})
    assert argv[-1] == "deb http://mirror.example/debian bookworm main"
    assert "condor" not in [service.name for service in daemons.services(older, PORTS)]
    assert "condor" not in daemons.prepare_script(older)


def test_an_older_slurm_is_not_told_to_do_without_control_groups_in_a_word_it_does_not_know() -> None:
    assert slurm.cgroup_conf(SETTINGS) == "CgroupPlugin=disabled\n"
    assert slurm.cgroup_conf(replace(SETTINGS, slurm="22.05")) == "CgroupPlugin=cgroup/v1\n"


def test_the_stamp_changes_with_the_release_of_slurm_and_not_with_the_state_folder() -> None:
    releases = ("22.05", "24.11", "26.05", "26.11")
    assert len({packages.stamp(replace(SETTINGS, slurm=release)) for release in releases}) == len(releases)
    assert packages.stamp(SETTINGS) == packages.stamp(replace(SETTINGS, state=Path("/elsewhere"), accounting=False))


@pytest.mark.parametrize(("release", "preferred"), [("24.11", "apptainer"), ("26.05", "apptainer /slurm/ /hwloc/")])
def test_only_what_no_stable_suite_has_is_preferred_from_the_unstable_suite(release: str, preferred: str) -> None:
    paragraphs = packages.preferences(replace(SETTINGS, slurm=release)).strip().split("\n\n")
    found = []
    for paragraph in paragraphs:
        parser = configparser.ConfigParser(delimiters=(":",))
        parser.read_string(f"[pin]\n{paragraph}")
        found.append((parser["pin"]["package"], parser["pin"]["pin"], int(parser["pin"]["pin-priority"])))
    assert found == [("*", "release a=unstable", 100), (preferred, "release a=unstable", 900)]


def test_mmdebstrap_is_given_mirror_options_packages_and_both_suites() -> None:
    source = Mirror("http://mirror.example/debian", ('Acquire::Check-Valid-Until "false"',))
    argv = rootfs.command(SETTINGS, source, Path("/cache/draft.part"), Path("/cache/preferences"))
    assert '--aptopt=Acquire::Check-Valid-Until "false"' in argv
    included = next(word for word in argv if word.startswith("--include=")).removeprefix("--include=").split(",")
    assert {"apptainer", "htcondor", "slurm-wlm=24.11.*", "slurmdbd", "docker-registry", "openssh-server"} <= set(included)
    assert argv[argv.index("trixie") :] == [
        "trixie",
        "/cache/draft.part",
        "deb http://mirror.example/debian trixie main",
        "deb http://mirror.example/debian sid main",
    ]


def test_a_newer_slurm_has_all_else_from_the_stable_suite() -> None:
    newer = replace(SETTINGS, slurm="26.05")
    argv = rootfs.command(newer, Mirror("http://mirror.example/debian", ()), Path("/cache/d.part"), Path("/cache/p"))
    assert argv[argv.index("trixie") + 2 :] == [
        "deb http://mirror.example/debian trixie main",
        "deb http://mirror.example/debian sid main",
    ]
    assert newer.schedulers == ("slurm", "htcondor")
    assert "slurm-wlm=26.05.*" in packages.wanted(newer)
    assert slurm.cgroup_conf(newer) == "CgroupPlugin=disabled\n"


def test_slurms_version_is_read_from_the_root_file_system(tmp_path: Path) -> None:
    assert rootfs.slurm_version(tmp_path) == ""
    status = tmp_path / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    other = "Package: slurm-wlm-torque\nVersion: 1.0-1\n\n"
    status.write_text(f"{other}Package: slurm-wlm\nStatus: install ok installed\nVersion: 22.05.8-4+deb12u3\n\n{other}")
    assert rootfs.slurm_version(tmp_path) == "22.05.8"


def test_a_record_of_an_older_version_is_of_the_one_release_that_it_knew(tmp_path: Path) -> None:
    lab = state.describe(replace(SETTINGS, slurm="26.05"), PORTS, Path("/cache/rootfs"), Process(1, 2), Process(3, 4))
    record = tmp_path / "lab.json"
    state.write(record, lab)
    found = state.read(record)
    assert found is not None
    assert found.slurm == "26.05"
    values = json.loads(record.read_text())
    del values["slurm"]
    record.write_text(json.dumps(values))
    assert state.read(record) == replace(found, slurm="24.11")


def test_the_cluster_entry_is_toml_that_names_the_ssh_configuration_and_the_mirror() -> None:
    lab = state.describe(SETTINGS, PORTS, Path("/cache/rootfs"), Process(1, 2), Process(3, 4))
    entry = tomllib.loads(access.cluster_toml(lab))["clusters"]["lab"]
    assert entry == {
        "host": "hpcdeploy-lab",
        "ssh-config": "/state with space/ssh_config",
        "schedulers": ["slurm", "htcondor"],
        "root": "$SCRATCH/hpcdeploy",
        "poll-interval": "1 s",
        "mirrors": {"ghcr.io": "localhost:22", "docker.io/library": "localhost:22/library"},
    }
    assert 'IdentityFile "/state with space/id_ed25519"' in access.ssh_config(lab)
    assert access.known_hosts(lab, "ssh-ed25519 AAAA comment\n") == "[127.0.0.1]:21 ssh-ed25519 AAAA\n"


@pytest.mark.parametrize(("name", "forbidding", "remedy"), REFUSALS)
def test_a_machine_that_forbids_user_namespaces_is_refused_with_the_remedy(name: str, forbidding: str, remedy: str) -> None:
    with pytest.raises(LabError, match=f"sysctl -w {remedy}"):
        check_user_namespaces({name: forbidding})


def test_a_machine_that_allows_user_namespaces_or_has_no_such_switch_will_do() -> None:
    check_user_namespaces({"user/max_user_namespaces": "95983", "kernel/unprivileged_userns_clone": "1"})
    check_user_namespaces({})
