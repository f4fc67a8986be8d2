"""Links at the places of the code, in the tree of an image that is built without Apptainer."""

import pytest

from hpcdeploy.direct.entries import OwnLayer
from hpcdeploy.direct.flattening import remaining
from hpcdeploy.direct.places import MOST_BESIDE, links_to_code, unlinked
from hpcdeploy.errors import BuildError
from tests.direct.layer_files import file, folder, layer, link

ROOT = ".hpcdeploy.d"


def test_a_place_becomes_a_link_and_the_names_beside_it_are_known() -> None:
    flattened = remaining((layer(folder("app"), file("app/pixi.toml"), file("app/.pixi/x"), folder("app/empty")),))
    links = links_to_code(flattened.tree, ("/app/src", "/app/conf.toml", "/app/empty", "/new/place"), ROOT, 7)
    assert links.problem == ""
    assert links.beside == {"/app": (".pixi", "pixi.toml")}
    flattened.add(OwnLayer(links.entries))
    names = dict(flattened.tree.walk())
    targets = {path: node.target for path, node in names.items() if node.kind == "link"}
    assert targets == {name: f"/{ROOT}/{name}" for name in ("app/src", "app/conf.toml", "app/empty", "new/place")}
    assert (names["new"].kind, names["new"].mode, names["new/place"].mtime) == ("folder", 0o755, 7)


def test_a_folder_above_that_is_a_link_is_followed_inside_the_image() -> None:
    flattened = remaining((layer(folder("opt/real"), file("opt/real/beside"), link("app", "/../../opt/./real")),))
    links = links_to_code(flattened.tree, ("/app/src",), ROOT, 0)
    assert links.beside == {"/app": ("beside",)}
    flattened.add(OwnLayer(links.entries))
    assert dict(flattened.tree.walk())["opt/real/src"].target == f"/{ROOT}/app/src"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("app/src/other", "the image has other files at /app/src"),
        ("app/src", "the image has other files at /app/src"),
        (f"{ROOT}/x", f"the image has a file /{ROOT}"),
    ],
)
def test_a_place_with_other_files_is_reported_and_the_tree_stays(name: str, reason: str) -> None:
    flattened = remaining((layer(file(name)),))
    links = links_to_code(flattened.tree, ("/app/src",), ROOT, 0)
    assert (links.problem, links.entries, links.beside) == (reason, (), {})


def test_a_folder_with_many_names_has_none_beside_the_code() -> None:
    flattened = remaining((layer(*(file(f"app/{number}") for number in range(MOST_BESIDE + 1))),))
    assert links_to_code(flattened.tree, ("/app/src",), ROOT, 0).beside == {}


@pytest.mark.parametrize("entry", [link("app", "/app"), file("app")])
def test_a_place_that_no_folder_can_have_is_an_error(entry: object) -> None:
    flattened = remaining((layer(entry),))  # type: ignore[arg-type]
    links = links_to_code(flattened.tree, ("/app/src",), ROOT, 0)
    with pytest.raises(BuildError, match="is not a folder in the image"):
        flattened.add(OwnLayer(links.entries))


@pytest.mark.parametrize(
    ("places", "reason"),
    [
        (("/opt/a", "/lnk/a"), "/opt/a is another file of the image too"),
        (("/opt/a", "/lnk/a/one.txt"), f"a place of the code is inside another one, below /{ROOT}"),
    ],
)
def test_places_that_meet_through_a_link_are_reported(places: tuple[str, ...], reason: str) -> None:
    flattened = remaining((layer(folder("opt"), link("lnk", "opt")),))
    links = links_to_code(flattened.tree, places, ROOT, 0)
    flattened.add(OwnLayer(links.entries))
    assert unlinked(flattened.tree, links.entries, ROOT) == reason


def test_a_place_that_a_later_layer_takes_is_reported() -> None:
    flattened = remaining((layer(folder("opt")),))
    links = links_to_code(flattened.tree, ("/opt/a",), ROOT, 0)
    flattened.add(OwnLayer(links.entries))
    assert unlinked(flattened.tree, links.entries, ROOT) == ""
    flattened.add(layer(link("opt/a", "/other")))
    assert unlinked(flattened.tree, links.entries, ROOT) == "/opt/a is another file of the image too"
