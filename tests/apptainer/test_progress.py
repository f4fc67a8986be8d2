"""Steps from Apptainer's own lines, as version 1.4.5 writes them."""

import pytest

from hpcdeploy.apptainer.build_progress import SEARCHED, UNCHANGED, BuildEvent, Show, plain, step_of
from hpcdeploy.secret import SecretValue, masking


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("INFO:    Starting build...", "starting"),
        ("INFO:    Fetching OCI image...", "fetching the base image"),
        ("INFO:    Extracting OCI image...", "unpacking the base image"),
        ("INFO:    Copying workspace/pixi.toml to /app/pixi.toml", "copying files"),
        ("INFO:    Running post scriptlet", "running %post"),
        ("INFO:    Running testscript", "running %test"),
        ("INFO:    Creating SIF file...", "packing the image"),
        ("\x1b[34mINFO:   \x1b[0m Build complete: x.sif", "built"),
        ("another build of the same inputs runs; waiting for it", "waiting for another build of the same inputs"),
        ("hpcdeploy: note: activation sets A by what it finds", "note: activation sets A by what it finds"),
        ("+ /bin/bash /.post.script", None),
        ("a line of the program that says INFO:    Starting build", None),
    ],
)
def test_lines_begin_steps(line: str, step: str | None) -> None:
    assert step_of(plain(line)) == step


def test_output_in_pieces_of_any_size_becomes_lines_and_each_step_is_told_once() -> None:
    events: list[BuildEvent] = []
    show = Show(events.append)
    text = "INFO:    Copying a to b\nINFO:    Copying c to d\nwörds\nINFO:    gocryptfs not found, x\nno end".encode()
    for number in range(len(text)):
        show.piece(text[number : number + 1])
    show.end()
    assert [event.text for event in events if event.is_step] == ["copying files"]
    assert [event.text for event in events if not event.is_step][-2:] == ["wörds", "no end"]
    assert list(show.tail)[-2:] == ["wörds", "no end"]


SECRET = "".join(chr(65 + number % 26) for number in range(1000))
MASKED = masking([SecretValue(SECRET.encode())])


@pytest.mark.parametrize("size", [1, 1000, 65536])
def test_a_line_that_is_too_long_to_be_searched_for_secrets_is_left_out(size: int) -> None:
    """Masked it would be short, and the half of a secret at its end be shown."""
    events: list[BuildEvent] = []
    show = Show(events.append, MASKED)
    text = f"{SECRET} " * (SEARCHED // 1001 + 1)
    content = f"{text[:SEARCHED]}\n{text}\nlast {SECRET}".encode()
    for start in range(0, len(content), size):
        show.piece(content[start : start + size])
    show.end()
    whole, long, last = (event.text for event in events)
    assert whole == MASKED(text[:SEARCHED])
    assert (long, last) == (f"[... a line of {len(text)} bytes is left out here ...]", "last ***")


def test_a_secret_is_masked_before_and_after_colours_and_what_was_overwritten_are_taken_out() -> None:
    events: list[BuildEvent] = []
    show = Show(events.append, masking([SecretValue(b"before\x1b[0m\rbehind"), SecretValue(b"colours")]))
    show.piece(b"x \x1b[31mcol\x1b[0mours\nx before\x1b[0m\rbehind x\n")
    assert [event.text for event in events] == ["x ***", "*** x"]


@pytest.mark.parametrize(("failed", "reported"), [(True, ["a"]), (False, ["a", "error: last"])])
def test_the_last_error_line_of_a_failed_build_is_left_to_its_error(failed: bool, reported: list[str]) -> None:
    events: list[BuildEvent] = []
    show = Show(events.append)
    show.piece(b"a\nerror: last")
    show.end(failed=failed)
    assert [event.text for event in events] == reported
    assert list(show.tail) == ["a", "error: last"]


def test_an_error_line_before_other_lines_is_reported_in_its_place() -> None:
    events: list[BuildEvent] = []
    show = Show(events.append)
    show.piece(b"error: of a compiler\nINFO:    Running testscript\nerror: x\nerror: y\n")
    show.end(failed=True)
    assert [event.text for event in events] == ["error: of a compiler", "running %test", "error: x"]


def test_a_line_that_begins_a_step_is_reported_once_as_the_step() -> None:
    events: list[BuildEvent] = []
    show = Show(events.append)
    show.piece(b"INFO:    Running post scriptlet\nthese inputs were built before\n")
    assert [(event.text, event.is_step) for event in events] == [("running %post", True), (UNCHANGED, True)]
