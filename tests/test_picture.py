import xml.etree.ElementTree as ET
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from hpcdeploy.environments.inventory import Item, largest_first
from hpcdeploy.picture import HEIGHT, WIDTH, draw, layout

ITEMS = largest_first(
    (
        Item(name="libtorch", version="2.9", kind="conda", family="Python", size=800_000_000),
        Item(name="libcublas", version="12.9", kind="conda", family="CUDA", size=400_000_000),
        Item(name="six", version="1.3", kind="conda", family="Python", size=1_000_000),
        Item(name="pip", version="5", kind="conda", family="Python", size=900_000),
        Item(name="<script>&\"'\x00", version="1", kind="pypi", family="PyPI"),
    )
)


def texts(svg: str) -> list[str]:
    return [node.text or "" for node in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_the_picture_names_what_is_large_and_counts_what_nobody_measured() -> None:
    svg = draw("train <gpu>", ITEMS, page=False)
    assert texts(svg)[:2] == ["train <gpu>", "1.20 GB in 4 items; 1 of unknown size"]
    assert {"libtorch", "800 MB", "CUDA 400 MB, 33%"} <= set(texts(svg))
    titles = [node.text for node in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}title")]
    assert "libcublas 12.9: 400 MB, 33.3% of all" in titles
    assert "2 smaller: 1.90 MB, 0.2% of all" in titles


def test_the_page_holds_the_picture_the_facts_and_every_item_with_its_words_escaped() -> None:
    page = draw("train <gpu>", ITEMS, page=True, facts=(("CUDA", "12.9 & more"),))
    assert "<svg" in page
    assert "<title>train &lt;gpu&gt;</title>" in page
    assert "<dd>12.9 &amp; more</dd>" in page
    assert "&lt;script&gt;&amp;&#34;&#39;\ufffd" in page
    assert "<script" not in page
    assert page.count("<tr>") == len(ITEMS) + 1
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


@given(st.lists(st.tuples(st.text(max_size=30), st.none() | st.integers(0, 10**11)), max_size=30))
def test_whatever_packages_are_called_the_picture_is_xml_and_its_words_stay_inside(
    drawn: list[tuple[str, int | None]],
) -> None:
    items = largest_first(Item(name=name, version="1", kind="conda", family="programs", size=size) for name, size in drawn)
    ET.fromstring(draw("t", items, page=False))
    for group in layout(items):
        for tile in group.tiles:
            assert len(tile.label) * 13 * 0.6 <= max(0.0, tile.box.width)
            assert tile.box.x + tile.box.width <= WIDTH + 1e-6
            assert tile.box.y + tile.box.height <= HEIGHT + 1e-6


def test_a_projects_own_page_wins(tmp_path: Path) -> None:
    (tmp_path / "page_templates").mkdir()
    (tmp_path / "page_templates" / "treemap.svg").write_text("mine: [= title =]")
    assert draw("a & b", ITEMS, page=False, overrides=tmp_path) == "mine: a &amp; b"
