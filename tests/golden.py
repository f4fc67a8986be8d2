"""Compare a text with its golden file."""

import os
from pathlib import Path

REWRITE = "HPCDEPLOY_WRITE_GOLDEN"
"""The environment variable with which a test run writes the golden files anew."""


def check_golden(golden: Path, text: str) -> None:
    """Fail if the content of the file `golden` is not `text`; write the file first if `REWRITE` is set."""
    if os.environ.get(REWRITE):
        golden.write_text(text)
    assert text == golden.read_text(), f"run the tests with {REWRITE}=1 to renew it, and read the difference"
