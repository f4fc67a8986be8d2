"""Steps from Apptainer's own lines, as version 1.4.5 writes them."""

import pytest

from hpcdeploy.apptainer.progress import BuildEvent, Show, plain, step_of


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
