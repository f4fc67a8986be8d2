import re
from pathlib import Path

import pytest

from tests.once.points import BRINGING, CANCELLED, KINDS, VARIABLE, points, share_of
from tests.once.test_after import KINDS as AFTER
from tests.once.test_parallel import KINDS as IN_PARALLEL
from tests.once.test_riding import HELD
from tests.once.test_riding import KINDS as RIDING

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md"])
def test_the_pages_tell_how_many_points_there_are(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / page).read_text()
    [all_of_them] = re.findall(r"submissions at (\d+) points", text)
    [some] = re.findall(r"`make test` [a-z ]+ (\d+) of (?:these|the \d+) points", text)
    on_both = (KINDS, BRINGING, CANCELLED, RIDING, HELD)
    every = (*on_both, *on_both, AFTER, IN_PARALLEL)
    monkeypatch.setenv(VARIABLE, "all")
    assert int(all_of_them) == sum(len(points("any", share_of(kinds))) for kinds in every)
    monkeypatch.delenv(VARIABLE)
    assert int(some) == sum(len(points("any", share_of(kinds))) for kinds in every) >= 120


def test_a_seed_chooses_the_same_points_again() -> None:
    assert points("one") == points("one") != points("another")
