"""Which tests run on which release of Slurm, told from what they use."""

import pytest

from hpcdeploy.errors import ConfigError
from tests.needs import MARKERS, OF_FIXTURE, OWN_RELEASE, markers, selection

CLUSTER = "tests/cluster/test_x.py::test_y"


@pytest.mark.parametrize(
    ("nodeid", "fixtures", "parameters", "expected"),
    [
        (CLUSTER, ["lab", "published", "delivery"], [], {"lab", "slurm", "container"}),
        (CLUSTER, ["lab"], [3, None, "slurm"], {"lab", "slurm"}),
        (CLUSTER, ["lab"], ["htcondor"], {"lab"}),
        (CLUSTER, ["lab", "site", "other_pool"], [], {"lab"}),
        ("tests/cluster/test_htcondor_x.py::test_y", ["lab"], [], {"lab"}),
        ("tests/lab/test_x.py::test_htcondor_shows_its_slot", ["lab"], [], {"lab"}),
        ("tests/lab/test_x.py::test_both_slurm_and_htcondor_run", ["lab"], [], {"lab", "slurm"}),
        ("tests/lab/test_x.py::test_pure", [], ["slurm"], set()),
        ("tests/builds/test_x.py::test_y", ["lab", "cluster"], [], {"lab"}),
        (CLUSTER, ["older", "start_lab"], [], {"lab", "slurm", "older_slurm"}),
        ("tests/transport/test_x.py::test_y", ["request"], ["openssh"], {"sshd"}),
    ],
)
def test_markers_follow_from_what_a_test_uses(
    nodeid: str, fixtures: list[str], parameters: list[object], expected: set[str]
) -> None:
    assert markers(nodeid, fixtures, parameters) == expected


def test_a_release_has_the_tests_that_it_can_run_and_its_own() -> None:
    assert selection("22.05") == "slurm and not newer_slurm and not container"
    assert selection("24.11") == "slurm and not older_slurm and not newer_slurm"
    assert selection("26.05") == "slurm and not older_slurm"


def test_a_release_that_no_lab_has_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"RELEASE=23\.02: expected one of 22\.05, 24\.11, 26\.05"):
        selection("23.02")


def test_every_marker_that_is_derived_is_declared() -> None:
    assert {marker for found in OF_FIXTURE.values() for marker in found} | {"slurm"} == MARKERS.keys()
    assert set(OWN_RELEASE.values()) <= MARKERS.keys()


def test_these_tests_are_chosen_as_their_fixtures_say(request: pytest.FixtureRequest) -> None:
    assert not [mark for mark in request.node.iter_markers() if mark.name in MARKERS]
