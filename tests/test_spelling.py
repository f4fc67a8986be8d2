"""What is said of a name that is not there."""

import pytest

from hpcdeploy.plain_text import meant, nearest


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("GPUS", "gpus"),
        ("ssh_config", "ssh-config"),
        ("tiem", "time"),
        ("mem", "memory"),
        ("cpu", "cpus"),
        ("zzz", None),
        ("gpus" * 10_000, None),
    ],
)
def test_the_nearest_spelling_is_found(word: str, name: str | None) -> None:
    assert meant(word, ["gpus", "cpus", "ssh-config", "time", "memory"]) == name


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("gpuu", ("default", "gpu"), "did you mean 'gpu'?"),
        ("GPU", ("default", "gpu"), "did you mean 'gpu'?"),
        ("zzz", ("gpu", "default"), "there is 'default', 'gpu'"),
        ("zzz", (), "there is none"),
    ],
)
def test_the_nearest_name_is_offered_or_else_all_that_there_are(name: str, known: tuple[str, ...], said: str) -> None:
    assert nearest(name, known) == said
