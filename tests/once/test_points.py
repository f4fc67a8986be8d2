import re
from pathlib import Path

import pytest

from tests.once.points import BRINGING, CANCELLED, KINDS, points
from tests.once.test_after import KINDS as AFTER
from tests.once.test_lanes import KINDS as IN_LANES
from tests.once.test_riding import HELD
from tests.once.test_riding import KINDS as RIDING

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md"])
def test_the_pages_tell_how_many_points_there_are(page: str) -> None:
    [told] = re.findall(r"submissions at (\d+) points", (ROOT / page).read_text())
    on_both = (KINDS, BRINGING, CANCELLED, RIDING, HELD)
    once = (AFTER, IN_LANES)
    assert int(told) == sum(len(points("any", kinds)) for kinds in (*on_both, *on_both, *once))


def test_a_seed_chooses_the_same_points_again() -> None:
    assert points("one") == points("one") != points("another")
