"""Ports are free, distinct, and kept."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.errors import LabError
from hpcdeploy_lab import ports
from hpcdeploy_lab.settings import LabSettings

SETTINGS = LabSettings(cache=Path("/cache"), state=Path("/state"))


def test_the_first_free_candidates_are_taken_once_each() -> None:
    chosen = ports.choose(SETTINGS, None, [1, 1, 2, 3, 4, 5, 6, 7, 8, 9], lambda port: port != 3)
    assert chosen.numbers() == (1, 2, 4, 5, 6, 7, 8)


def test_remembered_ports_are_kept_but_for_one_that_somebody_took() -> None:
    first = ports.choose(SETTINGS, None, range(1, 20), lambda _: True)
    second = ports.choose(SETTINGS, first, range(1, 20), lambda port: port != first.registry)
    assert second == replace(first, registry=8)


def test_ports_remembered_for_another_number_of_nodes_are_not_forced_on_it() -> None:
    first = ports.choose(SETTINGS, None, range(1, 20), lambda _: True)
    three = replace(SETTINGS, nodes=("a", "b", "c"))
    assert ports.choose(three, first, range(1, 20), lambda _: True).slurmd == (8, 9, 10)


def test_no_free_port_is_one_clear_error() -> None:
    with pytest.raises(LabError, match="no free port"):
        ports.choose(SETTINGS, None, range(1, 20), lambda _: False)


def test_a_port_that_somebody_listens_on_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
        assert not ports.is_free(number)
    assert ports.is_free(number)


def test_ports_survive_their_file_and_a_broken_file_is_no_memory(tmp_path: Path) -> None:
    chosen = ports.choose(SETTINGS, None, range(1, 20), lambda _: True)
    path = tmp_path / "ports.json"
    assert ports.read(path) is None
    ports.write(path, chosen)
    assert ports.read(path) == chosen
    for broken in ("", "{}", "[1]", '{"ssh": 1}', "null"):
        path.write_text(broken)
        assert ports.read(path) is None


def test_candidates_are_every_port_of_the_range_in_changing_order() -> None:
    first, second = ports.shuffled(), ports.shuffled()
    assert sorted(first) == sorted(second) == list(ports.RANGE)
    assert first != second
