"""Whatever a manifest, a lock file or a package's manifest holds: values, or one message, never another exception."""

import contextlib
import json
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcdeploy.environments.pixi import read_manifest
from hpcdeploy.environments.pixi_choice import choose_platform
from hpcdeploy.environments.pixi_lock import read_lock
from hpcdeploy.environments.pixi_package import package_places
from hpcdeploy.errors import EnvironmentFileError

WORDS = (
    *(
        "workspace",
        "platforms",
        "name",
        "platform",
        "cuda",
        "driver",
        "arch",
        "archspec",
        "glibc",
        "__cuda",
        "feature",
        "target",
    ),
    *(
        "environments",
        "features",
        "default",
        "gpu",
        "linux-64",
        "p1",
        "a*",
        "dependencies",
        "pypi-dependencies",
        "path",
        "dev",
    ),
    *("editable", "activation", "scripts", "system-requirements", "libc", "version", "package", "build", "source", "tool"),
    *(
        "build-variants-files",
        "no-default-feature",
        "if(unix)",
        "macos",
        "subdir",
        "virtual-packages",
        "packages",
        "channels",
    ),
    *("conda", "pypi", "url", "kind", "then"),
)
LEAVES = st.one_of(
    st.sampled_from((*WORDS, "12.9", "__cuda=12", "__glibc", "")), st.booleans(), st.integers(-3, 99), st.floats(0, 9)
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=12,
)
TABLES = st.dictionaries(st.sampled_from(WORDS), VALUES, max_size=6)


def toml_of(value: object) -> str:
    """Write a value as TOML: tables inline, as TOML 1.1 has them."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {toml_of(content)}" for name, content in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_of, value)) + "]"
    return json.dumps(value) if not isinstance(value, float) else repr(value)


def document(table: dict[str, Any]) -> str:
    return "".join(f"{json.dumps(name)} = {toml_of(content)}\n" for name, content in table.items())


@settings(max_examples=300, deadline=None)
@given(TABLES, TABLES)
def test_a_manifest_is_read_or_refused(top: dict[str, Any], workspace: dict[str, Any]) -> None:
    with contextlib.suppress(EnvironmentFileError):
        manifest = read_manifest(document({**top, "workspace": {"platforms": ["linux-64"], **workspace}}))
        for environment in manifest.environments:
            with contextlib.suppress(EnvironmentFileError):
                for platform in manifest.platforms_for(environment):
                    environment.on(platform)


@settings(max_examples=300, deadline=None)
@given(TABLES, VALUES)
def test_a_lock_file_is_read_or_refused(top: dict[str, Any], rows: object) -> None:
    text = yaml.safe_dump({"version": 7, "environments": {"default": {"packages": {"linux-64": [], "p1": rows}}}, **top})
    workspace = read_manifest('[workspace]\nplatforms = ["linux-64"]\n')
    with contextlib.suppress(EnvironmentFileError):
        lock = read_lock(text)
        for row in lock.rows("default"):
            lock.read("default", row)
        choose_platform(workspace, workspace.environments[0], lock)


@settings(max_examples=200, deadline=None)
@given(TABLES)
def test_a_packages_manifest_is_read_or_refused(top: dict[str, Any]) -> None:
    for file, text in (
        ("pixi.toml", document(top)),
        ("pyproject.toml", document(top)),
        ("recipe.yaml", yaml.safe_dump(top)),
    ):
        with contextlib.suppress(EnvironmentFileError):
            package_places(text, file)
