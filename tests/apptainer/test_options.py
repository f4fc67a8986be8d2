"""Words of the command line: each build argument reaches Apptainer's reader of CSV as one value, as it stands."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcdeploy.apptainer.build_script import building
from hpcdeploy.apptainer.client import build_argument
from hpcdeploy.cluster import Cluster
from hpcdeploy.image import Definition
from hpcdeploy.shell import word

VALUES = ("dev,test", "x,MODE=debug", 'a "quoted" word', '"', ",", "two\nlines", "", "plain $HOME `id` \\", "ü;|")


def read(argument: str) -> list[list[str]]:
    """Read as pflag does: one record after RFC 4180, in which a quote in a bare field is an error."""
    assert argument.startswith('"') or '"' not in argument
    return list(csv.reader([argument], strict=True))


@pytest.mark.parametrize("value", VALUES)
def test_a_value_is_one_field_as_it_stands(value: str) -> None:
    assert read(build_argument("EXTRAS", value)) == [[f"EXTRAS={value}"]]


@given(st.text(st.characters(exclude_characters="\0\r\n", codec="utf-8")))
def test_any_value_is_one_field(value: str) -> None:
    assert read(build_argument("A", value)) == [[f"A={value}"]]


def test_a_plain_value_stays_plain() -> None:
    assert build_argument("A", "x y=$HOME") == "A=x y=$HOME"


def test_a_build_on_a_login_node_passes_the_same_words(tmp_path: Path) -> None:
    given_args = tuple((f"A{number}", value) for number, value in enumerate(VALUES))
    definition = Definition(name="x", text="", files=(), build_args=given_args, inputs="0")
    script = building(definition, Cluster(name="c", host="h"), context_sha256="", overrides=tmp_path)
    words = " ".join(word(build_argument(name, value)) for name, value in given_args)
    assert f"\nbuild_args=({words})\n" in script
    assert 'options+=(--build-arg "$argument")' in script
