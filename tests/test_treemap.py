import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcdeploy.picture import Box, squarify

FRAME = Box(x=10, y=20, width=600, height=400)


def test_the_example_of_the_paper() -> None:
    # Bruls, Huizing, van Wijk: 6, 6, 4, 3, 2, 2, 1 in a frame of 6 by 4 begins with two squares-like boxes of 3 by 2.
    boxes = squarify([6, 6, 4, 3, 2, 2, 1], Box(x=0, y=0, width=6, height=4))
    assert boxes[0] == Box(x=0, y=0, width=3, height=2)
    assert boxes[1] == Box(x=0, y=2, width=3, height=2)
    assert boxes[2].x == pytest.approx(3)
    assert boxes[2].width == pytest.approx(12 / 7)


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=60).filter(any))
def test_areas_are_as_the_sizes_nothing_overlaps_and_nothing_leaves_the_frame(sizes: list[int]) -> None:
    sizes.sort(reverse=True)
    boxes = squarify(sizes, FRAME)
    whole = FRAME.width * FRAME.height
    assert [box.width * box.height for box in boxes] == pytest.approx(
        [size / sum(sizes) * whole for size in sizes], abs=1e-6
    )
    for number, box in enumerate(boxes):
        assert box.x >= FRAME.x - 1e-6
        assert box.y >= FRAME.y - 1e-6
        assert box.x + box.width <= FRAME.x + FRAME.width + 1e-6
        assert box.y + box.height <= FRAME.y + FRAME.height + 1e-6
        for other in boxes[:number]:
            across = min(box.x + box.width, other.x + other.width) - max(box.x, other.x)
            down = min(box.y + box.height, other.y + other.height) - max(box.y, other.y)
            assert min(across, down) < 1e-6


@pytest.mark.parametrize(("sizes", "frame"), [([], FRAME), ([0, 0], FRAME), ([1, 2], Box(x=0, y=0, width=0, height=5))])
def test_nothing_to_show_gives_boxes_without_area(sizes: list[float], frame: Box) -> None:
    assert [box.width * box.height for box in squarify(sizes, frame)] == [0] * len(sizes)


def test_a_shrunk_box_is_never_less_than_nothing() -> None:
    assert Box(x=0, y=0, width=3, height=1).shrunk(2) == Box(x=1.5, y=1, width=0, height=0)
