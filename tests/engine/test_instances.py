"""The notes of instances: what was noted is read back, and what is damaged is one message."""

import stat
from pathlib import Path

import pytest

from hpcdeploy.engine.instances import Instance, Instances
from hpcdeploy.errors import InstanceError

ONE = Instance(
    name="web", engine="podman", program="/usr/bin/podman", image="x", environment=(("A", "caf\udce9"),), started=7
)


def test_what_was_noted_is_read_back_and_for_us_alone(tmp_path: Path) -> None:
    instances = Instances(tmp_path / "instances")
    instances.note(ONE)
    assert instances.all() == [ONE]
    note = instances.folder("web") / "instance.json"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (note, note.parent, note.parent.parent)] == [0o600, 0o700, 0o700]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"name": 1}', "[" * 100_000])
def test_a_damaged_note_is_one_message(tmp_path: Path, text: str) -> None:
    instances = Instances(tmp_path / "instances")
    instances.note(ONE)
    (instances.folder("web") / "instance.json").write_text(text)
    with pytest.raises(
        InstanceError, match=r"the record of an instance, .*/web/instance.json, is damaged: .*remove the folder .*/web"
    ):
        instances.all()
