"""JSON from outside ends in a value or in a `ValueError`, whatever it holds; and its readers end in their own errors."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcdeploy.apptainer.build_record import read_record, record_path
from hpcdeploy.checked_values import DEEPEST, read_json
from hpcdeploy.environments.inventory import spack_items
from hpcdeploy.environments.oci import read_config
from hpcdeploy.errors import BuildError, ConfigError, EnvironmentFileError, HpcdeployError, RegistryError, SchedulerError
from hpcdeploy.flows.sources.oci import read_archive
from hpcdeploy.registry.credentials import find_credentials
from hpcdeploy.registry.manifest import parse_manifest
from hpcdeploy.registry.reference import parse_reference
from hpcdeploy.remote.answers import read_answer
from hpcdeploy.scheduler.htcondor.queries import read_history, read_queue
from tests.builds.container_images import write_tar

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
)


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


@given(VALUES, st.sampled_from(["utf-8", "utf-16", "utf-32"]))
def test_a_value_is_read_as_it_was_written(value: object, encoding: str) -> None:
    assert read_json(json.dumps(value)) == value
    assert read_json(json.dumps(value).encode(encoding)) == value


@pytest.mark.parametrize("levels", [DEEPEST + 1, 900, 100_000])
@pytest.mark.parametrize("shape", ["{}", '{{"a": {}}}', "[1, {}, 2]"])
def test_what_is_nested_too_deeply_is_a_value_error(levels: int, shape: str) -> None:
    with pytest.raises(ValueError, match="nested deeper than 100 levels"):
        read_json(shape.format(nested(levels)))


def test_what_is_nested_as_deeply_as_allowed_is_read() -> None:
    assert json.dumps(read_json(nested(DEEPEST))) == nested(DEEPEST)
    assert read_json(json.dumps([[1]] * 200)) == [[1]] * 200


@pytest.mark.parametrize("text", [r'"\ud800"', r'{"\uDFFF": 1}', r'["\ude00\ud83d"]'])
def test_half_a_pair_of_surrogates_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="half of a surrogate pair"):
        read_json(text)


def test_a_whole_pair_is_a_character_and_a_name_in_no_encoding_stays_as_it_is() -> None:
    assert read_json(r'"\ud83d\ude00"') == "\U0001f600"
    assert read_json('["\\ud83d\\ude00", "\udcff"]') == ["\U0001f600", "\udcff"]


DEEP = nested(100_000)


def record(folder: Path) -> None:
    (folder / "x.sif").write_bytes(b"")
    record_path(folder / "x.sif").write_text(DEEP)
    read_record(folder / "x.sif")


def archive(folder: Path) -> None:
    write_tar(folder / "x.tar", {"manifest.json": DEEP.encode()})
    read_archive(folder / "x.tar", "docker-archive")


def credentials(folder: Path) -> None:
    (folder / "auth.json").write_text(DEEP)
    find_credentials(parse_reference("oras://example.org/x"), (folder / "auth.json",))


@pytest.mark.parametrize(
    ("read", "error"),
    [
        (record, BuildError),
        (archive, EnvironmentFileError),
        (credentials, ConfigError),
        (lambda folder: read_config(b'{"config": {"Labels": ' + DEEP.encode() + b"}}"), EnvironmentFileError),
        (lambda folder: spack_items(DEEP), EnvironmentFileError),
        (lambda folder: parse_manifest(DEEP.encode(), repository="x"), RegistryError),
        (lambda folder: read_queue(DEEP, {}), SchedulerError),
        (lambda folder: read_history(DEEP), SchedulerError),
        (lambda folder: read_history('{"ClusterId": 1}'), SchedulerError),
    ],
)
def test_a_reader_of_outside_text_ends_in_its_own_error(
    read: Callable[[Path], object], error: type[HpcdeployError], tmp_path: Path
) -> None:
    with pytest.raises(error):
        read(tmp_path)


def test_a_login_node_s_answer_that_is_nested_too_deeply_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="not JSON"):
        read_answer(b'HPCDEPLOY {"x": ' + DEEP.encode() + b"}")
