"""What a script on a login node says to people is said once."""

import pytest

from hpcdeploy.progress import ignore_output
from hpcdeploy.remote.answers import ErrorOutput
from hpcdeploy.transport.contract import Completed

SBATCH = b"sbatch: error: invalid partition specified: gpus\n"
OURS = b"error: slurm refused the job; its message is above\n"


def heard(said: bytes, *, exit_code: int, pieces: int) -> tuple[bytes, str]:
    shown = bytearray()
    listening = ErrorOutput(shown.extend)
    for start in range(0, len(said), pieces):
        listening.take(said[start : start + pieces])
    words = listening.message(Completed(exit_code=exit_code, stdout=b"", stderr=said))
    return bytes(shown), words


@pytest.mark.parametrize("pieces", [1, 7, 1000])
def test_a_script_s_own_error_line_is_left_to_the_error_that_is_raised(pieces: int) -> None:
    assert heard(SBATCH + OURS, exit_code=12, pieces=pieces) == (SBATCH, "slurm refused the job; its message is above")


@pytest.mark.parametrize("pieces", [1, 7, 1000])
@pytest.mark.parametrize(
    ("said", "exit_code"),
    [(OURS + SBATCH, 12), (OURS, 0), (OURS.strip(), 0), (SBATCH.strip(), 12), (OURS * 2 + SBATCH, 12), (b"", 1)],
    ids=["not the last", "all went well", "without an end", "the scheduler's", "many", "silent"],
)
def test_everything_else_is_shown(said: bytes, exit_code: int, pieces: int) -> None:
    shown, words = heard(said, exit_code=exit_code, pieces=pieces)
    assert shown == said
    assert words


def test_where_nothing_was_shown_the_error_says_the_scheduler_s_words_too() -> None:
    completed = Completed(exit_code=12, stdout=b"", stderr=SBATCH + OURS)
    listening = ErrorOutput(ignore_output)
    listening.take(completed.stderr)
    assert listening.message(completed).splitlines() == [
        SBATCH.decode().strip(),
        OURS.decode().strip().removeprefix("error: "),
    ]
