"""What the worker processes of one test run share: a folder, and values that the first of them to need one makes."""

import os
import pickle
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from hpcdeploy_lab.state import locked

T = TypeVar("T")

RUN = os.environ.setdefault("HPCDEPLOY_TEST_RUN", str(os.getpid()))
"""Names this test run: the first process chooses the name, its workers inherit it."""

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")

OWN = f"pytest-{RUN}-{WORKER}"
"""Names what belongs to this worker process alone, such as its folder in the lab's scratch. No test id may contain it."""

SHARED = f"pytest-{RUN}-shared"
"""Names what belongs to all workers of this test run, such as their common folder in the lab's scratch."""

FOLDER = Path(tempfile.gettempdir()) / f"hpcdeploy-tests-{RUN}"
"""A folder of this machine for all workers of this test run; the first process makes and removes it."""


def once(name: str, make: Callable[[], T]) -> T:
    """Return the value that `make` returns, called in one worker of the test run only; the others get a copy.

    The value must be one that pickle can store. Where `make` fails in one worker, the others fail with its traceback and
    do not try again.
    """
    kept = FOLDER / f"{name}.pickle"
    with locked(FOLDER / f"{name}.lock", "", lambda _: None):
        if not kept.exists():
            try:
                kept.write_bytes(pickle.dumps(("made", make())))
            except BaseException:
                kept.write_bytes(pickle.dumps(("failed", traceback.format_exc())))
                raise
        outcome, value = pickle.loads(kept.read_bytes())
    if outcome == "failed":
        pytest.fail(f"another worker could not make {name}:\n{value}")
    made: T = value
    return made
