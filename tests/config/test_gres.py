"""GPUs in the options of sbatch. What each value means to Slurm: sbatch(1), and its slurm_get_next_tres (26.11rc1)."""

import pytest

from hpcdeploy.config.gres import has_whole_nodes, in_gres, requests_gpus
from hpcdeploy.job import Directives


@pytest.mark.parametrize(
    "directives",
    [
        (("gres", "gpu"),),
        (("gres", "gpu:2"),),
        (("gres", "gpu:mi250"),),
        (("gres", "gpu:mi250:2"),),
        (("gres", "gpu:mi250=2"),),
        (("gres", "gres/gpu:1"),),
        (("gres", "gres:gpu:1"),),
        (("gres", "craynetwork:1,gpu:mi250:2"),),
        (("gres", "gpu:a100:0,gpu:mi250:1"),),
        (("gres", "shard:4"),),
        (("gres", "mps:50"),),
        (("gres", "tmpfs:10G, shard:1k"),),
        (("gres", "gpu_a100:1"),),
        (("gpus", "1"),),
        (("gpus", "mi250:8"),),
        (("gpus-per-node", "volta:3,kepler:1"),),
        (("gpus-per-socket", "2"),),
        (("gpus-per-task", "volta:1"), ("ntasks", "2")),
        (("tres-per-task", "gres/gpu=1"),),
        (("tres-per-task", "cpu=8,gres/gpu:mi250=2"),),
        (("tres-per-task", "cpu=8,gres/shard:1,license/x=1"),),
        (("tres-per-task", "gres:gpu:1"),),
        (("ntasks-per-gpu", "2"), ("ntasks", "4")),
        (("constraint", "x"), ("gres", "ssd"), ("gpus", "2")),
    ],
    ids=str,
)
def test_every_way_of_asking_for_gpus_asks_for_gpus(directives: Directives) -> None:
    assert requests_gpus(directives)


@pytest.mark.parametrize(
    "directives",
    [
        (),
        (("gres", "gpu:0"),),
        (("gres", "gpu:mi250:0"),),
        (("gres", "gpu=0"),),
        (("gres", "shard:0,mps:0,gpu:0k"),),
        (("gres", "none"),),
        (("gres", "ssd,tmpfs:100G"),),
        (("gres", "craynetwork:1"),),
        (("gres", False),),
        (("gpus", "0"),),
        (("gpus", "0" * 5000),),
        (("gpus", "mi250:0"),),
        (("gpus-per-node", "0"),),
        (("gpus-per-socket", "0"),),
        (("gpus-per-task", "0"),),
        (("tres-per-task", "cpu=8"),),
        (("tres-per-task", "gres/gpu=0,cpu=8"),),
        (("tres-per-task", "license/gpusolver=1"),),
        (("cpus-per-gpu", "4"),),
        (("mem-per-gpu", "4G"),),
        (("gpu-bind", "closest"),),
        (("gres-flags", "enforce-binding"),),
        (("exclusive", True),),
    ],
    ids=str,
)
def test_what_asks_for_no_gpu_is_no_wish_for_one(directives: Directives) -> None:
    assert not requests_gpus(directives)


def test_a_list_is_read_as_slurm_reads_it() -> None:
    found = in_gres((("gres", "craynetwork,gpu:mi250:2,gres/gpu:a100=0,,tmpfs:100GB,nic:hdr,"),))
    assert [(one.name, one.kind, one.wanted) for one in found] == [
        ("craynetwork", "", True),
        ("gpu", "mi250", True),
        ("gpu", "a100", False),
        ("tmpfs", "", True),
        ("nic", "hdr", True),
    ]


@pytest.mark.parametrize(
    ("value", "whole"),
    [(True, True), ("exclusive", True), ("allocation", True), ("user", False), ("topo", False), (False, False)],
)
def test_a_job_that_shares_its_nodes_with_nobody_has_all_of_them(value: str | bool, whole: bool) -> None:
    assert has_whole_nodes((("exclusive", value),)) is whole
