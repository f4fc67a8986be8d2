"""Whatever the outside sends is read, or refused with one of our errors, in time: no traceback, no hang.

``make test-fuzz`` gives each parser more inputs. The seed is the test run's (`tests.seed`), so a failure comes again with
``HPCDEPLOY_SEED=... pytest "tests/fuzz/test_fuzz.py::...[NAME]"``.
"""

import contextlib
import os
import time
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.files import FILES
from tests.fuzz.parser import Parser, limited
from tests.fuzz.registries import REGISTRIES
from tests.fuzz.schedulers import SCHEDULERS
from tests.seed import VARIABLE

INPUTS = "HPCDEPLOY_FUZZ"
"""The variable that says how many inputs each parser gets."""

SHARE = 25
"""How many it gets in a run of all tests."""

PARSERS = (*SCHEDULERS, *REGISTRIES, *FILES)

_counts: dict[str, int] = {}
_slowest: dict[str, float] = {}


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
def test_only_our_errors_come_out_and_each_in_time(parser: Parser, say: Callable[[str], None]) -> None:
    _counts[parser.name], _slowest[parser.name] = 0, 0.0

    @seed(f"{os.environ[VARIABLE]} {parser.name}")
    @settings(
        max_examples=int(os.environ.get(INPUTS) or SHARE),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(parser.inputs)
    def read(sent: object) -> None:
        began = time.process_time()
        _counts[parser.name] += 1
        with limited(), contextlib.suppress(*parser.errors):
            parser.read(sent)
        _slowest[parser.name] = max(_slowest[parser.name], time.process_time() - began)

    read()
    if os.environ.get(INPUTS):
        name = max(_slowest, key=_slowest.__getitem__)
        say(
            f"fuzz: {parser.name}: {_counts[parser.name]} inputs; so far {sum(_counts.values())} inputs, "
            f"the slowest {_slowest[name]:.2f} s of CPU time ({name})"
        )


def test_an_input_that_costs_too_much_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.parser.CPU_LIMIT", 0.05)

    def spin() -> None:
        while True:
            st.integers()

    with pytest.raises(Exception, match="of CPU time"), limited():
        spin()
