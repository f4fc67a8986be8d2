"""The mirror is read from what apt says, in apt's own words."""

import subprocess

import pytest

from hpcdeploy_lab.mirror import INDEX_TARGETS, parse_options, parse_site

MAIN = "http://mirror.example/debian\tbookworm\tDebian"


@pytest.mark.parametrize(
    "before",
    [
        [],
        ["http://mirror.example/debian\tbookworm-updates\tDebian"],
        ["http://other.example/debian-security\tbookworm-security\tDebian-Security"],
        ["http://other.example/debian\tbookworm-backports\tDebian Backports"],
        ["https://vendor.example/repository\tstable\tVendor", "https://vendor.example/other\tstable\t"],
        ["cdrom:[Debian]\tbookworm\tDebian", "file:/srv/debian\tbookworm\tDebian"],
    ],
)
def test_the_archive_that_calls_itself_debian_is_the_mirror(before: list[str]) -> None:
    assert parse_site([*before, MAIN]) == "http://mirror.example/debian"
    assert parse_site([*before, "https://mirror.example/\ttrixie\tDebian\n"]) == "https://mirror.example"


@pytest.mark.parametrize(
    "targets",
    [[], ["", "garbage"], ["http://archive.example/ubuntu\tnoble\tUbuntu", "http://mirror.example/debian\tsid-x\tDebian"]],
)
def test_without_one_nothing_is_guessed(targets: list[str]) -> None:
    assert parse_site(targets) == ""


def test_this_machines_apt_understands_the_question() -> None:
    done = subprocess.run(INDEX_TARGETS, capture_output=True, text=True, check=True)
    assert all(len(line.split("\t")) == 3 for line in done.stdout.splitlines())


def test_options_that_reach_the_mirror_are_carried_over_and_no_others() -> None:
    dump = [
        'Acquire::Check-Valid-Until "false";',
        'Acquire::http::Proxy "http://proxy.example:3128";',
        'Acquire::http::Proxy::mirror.example "DIRECT";',
        'Acquire::https::Timeout "30";',
        'Acquire::http::User-Agent "x";',
        'Acquire::Languages "none";',
        'Acquire::https::Proxy "";',
        'APT::Update::Post-Invoke "rm -f /var/cache/apt/*.bin";',
    ]
    assert parse_options(dump) == (
        'Acquire::Check-Valid-Until "false"',
        'Acquire::http::Proxy "http://proxy.example:3128"',
        'Acquire::http::Proxy::mirror.example "DIRECT"',
        'Acquire::https::Timeout "30"',
    )
