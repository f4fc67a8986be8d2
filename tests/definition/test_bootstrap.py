"""Bootstrap agents: what Apptainer asks of each header is asked before, and what a version does not know is named."""

import pytest

from hpcdeploy.definition.checking import check_definition, newer_than
from hpcdeploy.errors import DefinitionError

SLE = "zypper\nProduct: SLES\nUser: me@example.org\nRegcode: 1\nOSVersion: 15.6\nMirrorURL: http://x/"


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("busybox", "'Bootstrap: busybox' but no 'MirrorURL:'"),
        ("busybox\nMirrorURL:", "'Bootstrap: busybox' but no 'MirrorURL:'"),
        ("debootstrap", "no 'MirrorURL:' and 'OSVersion:'"),
        ("debootstrap\nMirrorURL: http://x/", "no 'OSVersion:'"),
        ("debootstrap\nOSVersion: trixie", "no 'MirrorURL:'"),
        ("yum", "no 'MirrorURL:'"),
        ("dnf\nMirrorURL: http://x/%{OSVersion}/", "no 'OSVersion:'"),
        ("yum\nMirrorURL: http://x/\nUpdateURL: http://y/%{osversion}", "no 'OSVersion:'"),
        ("zypper\nMirrorURL: http://x/%{OSVERSION}/", "no 'OSVersion:'"),
        ("zypper\nProduct: SLES", "no 'User:' and 'Regcode:' and 'OSVersion:'"),
        (SLE.replace("\nMirrorURL: http://x/", ""), "no 'MirrorURL:'"),
        (SLE.replace("15.6", "15"), "must be MAJOR.MINOR"),
        ("docker", "no 'From:' that names its base"),
        ("docker-daemon", "no 'From:' that names its base"),
        ("buildkit", "no 'From:' that names its base"),
        (
            "oras\nFrom: oras://example.org/x",
            "is invalid under 'Bootstrap: oras', because Apptainer puts oras:// before it; use ",
        ),
        ("Docker\nFrom: x", "Apptainer does not know the agent of 'Bootstrap: Docker'; use 'docker'"),
        ("podman\nFrom: x", "the agent of 'Bootstrap: podman'; known agents: arch, buildkit, busybox,"),
        ("", "does not know the agent of 'Bootstrap: '"),
        ("self", "does not know the agent"),
    ],
)
def test_a_header_at_which_apptainer_stops_is_refused(header: str, words: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        check_definition(f"Bootstrap: {header}\n\n%help\nx\n")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "header",
    [
        "busybox\nMirrorURL: http://x/busybox",
        "debootstrap\nMirrorURL: http://x/\nOSVersion: trixie",
        "yum\nMirrorURL: http://x/",
        "dnf\nMirrorURL: http://x/%{OSVERSION}/\nOSVersion: 9",
        "zypper",
        SLE,
        SLE.replace("15.6", "12.5").replace("\nMirrorURL: http://x/", ""),
        "arch",
        "scratch",
        "docker-daemon\nFrom: x:latest",
        "dockerfile\nFrom: .\nTarget: final",
    ],
)
def test_a_header_with_all_that_its_agent_needs_is_taken(header: str) -> None:
    assert check_definition(f"Bootstrap: {header}\n\n%help\nx\n")[0].header["bootstrap"] == header.partition("\n")[0]


@pytest.mark.parametrize(
    ("header", "program", "version", "unknown"),
    [
        ({"bootstrap": "dnf"}, "apptainer", (1, 3, 6), ["'Bootstrap: dnf' (apptainer 1.4.0, singularity-ce 4.3.0"]),
        ({"bootstrap": "dnf"}, "apptainer", (1, 4, 0), []),
        ({"bootstrap": "dnf"}, "singularity-ce", (4, 2, 9), ["'Bootstrap: dnf'"]),
        ({"bootstrap": "yum"}, "apptainer", (1, 2, 0), []),
        (
            {"bootstrap": "buildkit", "from": "."},
            "apptainer",
            (1, 4, 5),
            ["'Bootstrap: buildkit' (apptainer 1.5.0 or later)"],
        ),
        ({"bootstrap": "buildkit", "from": "."}, "apptainer", (1, 5, 3), []),
        ({"bootstrap": "dockerfile"}, "singularity-ce", (4, 5, 0), ["'Bootstrap: dockerfile'"]),
        ({"bootstrap": "docker", "target": "x"}, "apptainer", (1, 4, 5), ["the header 'target'"]),
        ({"bootstrap": "arch", "confurl": "x"}, "singularity-ce", (4, 5, 0), ["the header 'confurl'"]),
        ({"bootstrap": "arch", "confurl": "x"}, "apptainer", (1, 2, 0), []),
    ],
)
def test_what_the_building_version_does_not_know_is_named(
    header: dict[str, str], program: str, version: tuple[int, ...], unknown: list[str]
) -> None:
    found = list(newer_than(header, program, version))
    assert [what.startswith(words) for what, words in zip(found, unknown, strict=True)] == [True] * len(unknown)
