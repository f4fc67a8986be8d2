"""YAML of a project: what is not YAML, refers to itself or has no end is one message, from every file that is read."""

from collections.abc import Callable

import pytest

from hpcdeploy.environments.pixi_lock import read_lock
from hpcdeploy.environments.pixi_package import package_places
from hpcdeploy.environments.spack import read_configuration, read_environment
from hpcdeploy.environments.yaml_text import DEEPEST, YamlError, load_yaml
from hpcdeploy.errors import EnvironmentFileError

DOUBLED = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
ENDLESS = {
    "list in itself": "spack:\n  specs: &x [a, *x]\n",
    "table in itself": "spack: &x\n  packages: *x\n",
    "doubled": DOUBLED,
    "deep list": "source: " + "[" * 3000 + "]" * 3000,
    "deep table": "source: " + "{a: " * 500 + "}" * 500,
    "a little too deep": "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1),
}
READERS: dict[str, Callable[[str], object]] = {
    "spack.yaml": read_environment,
    "packages.yaml": lambda text: read_configuration(text, "packages.yaml"),
    "pixi.lock": read_lock,
    "recipe.yaml": lambda text: package_places(text, "recipe.yaml"),
}


@pytest.mark.parametrize("text", ENDLESS.values(), ids=ENDLESS)
@pytest.mark.parametrize("file", READERS)
def test_what_has_no_end_is_one_message_from_every_file(file: str, text: str) -> None:
    with pytest.raises(EnvironmentFileError, match="not valid YAML") as caught:
        READERS[file](text)
    assert file in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("text", ["a: 2026-13-45", f"a: {'9' * 5000}", "a: [", "a: \x00", "a: !!python/none x"])
@pytest.mark.parametrize("typed", [True, False])
def test_what_python_cannot_hold_is_no_other_error(text: str, *, typed: bool) -> None:
    if not typed and text[3].isdigit():
        assert load_yaml(text, typed=False) == {"a": text.removeprefix("a: ")}
        return
    with pytest.raises(YamlError, match=r"\S"):
        load_yaml(text, typed=typed)


def test_aliases_and_merge_keys_that_end_are_read() -> None:
    text = "base: &b {x: 1, y: [1, ~]}\nall: [*b, {<<: *b, x: no}]\n"
    assert load_yaml(text, typed=False) == {
        "base": {"x": "1", "y": ["1", None]},
        "all": [{"x": "1", "y": ["1", None]}, {"x": "no", "y": ["1", None]}],
    }
    assert load_yaml(text) == {
        "base": {"x": 1, "y": [1, None]},
        "all": [{"x": 1, "y": [1, None]}, {"x": False, "y": [1, None]}],
    }
    assert load_yaml("[" * DEEPEST + "]" * DEEPEST)
