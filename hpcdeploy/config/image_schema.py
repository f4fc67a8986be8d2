"""Define the keys of ``[image]`` and ``[images.NAME]`` as data."""

import re
from collections.abc import Mapping
from typing import Any

from hpcdeploy.architecture import AMD64, ARCHITECTURES, NAMES, Architecture, read_platform_setting
from hpcdeploy.config.reading import Either, Key, Leaf, ListOf, MapOf, Table, found
from hpcdeploy.config.validators import (
    identifier,
    image_path,
    line,
    name,
    number,
    one_of,
    project_path,
    text,
    variable,
    whole,
)
from hpcdeploy.environments.microarchitectures import check_family, check_microarchitecture, is_foreign
from hpcdeploy.errors import ConfigError, EnvironmentFileError
from hpcdeploy.image import Step
from hpcdeploy.source import DockerfileSource, User

SOURCES = ("pixi", "spack", "oci", "dockerfile", "definition")
"""The keys that set an image's source; without any of them the source is the Pixi environment ``default``."""

_FITTING: Mapping[str, frozenset[str]] = {
    "dockerfile": frozenset({"repository", "tags", "platform", "dockerfile", "test", "labels", "build-args", "compression"}),
    "definition": frozenset({"repository", "tags", "platform", "definition", "build-args", "secrets", "compression"}),
    "oci": frozenset(
        {"repository", "oci", "files", "setup", "test", "command", "start", "environment", "labels", "build-args"}
        | {"tags", "platform", "ports", "bind-points", "secrets", "compression"}
    ),
}
"""The keys that may be combined with a source, by source: the source itself defines the other settings of the image.

All keys may be combined with a source that is not listed here.
"""


def _repository(value: object) -> str:
    words = line(value)
    part = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
    if not re.fullmatch(
        rf"(?:localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|[A-Za-z0-9-]+(?=:))(?::[0-9]{{1,5}})?(?:/{part})+", words
    ):
        raise ConfigError(
            f"found {found(value)}; expected HOST/PATH in lower case without scheme, tag or digest,"
            ' such as "ghcr.io/me/train"'
        )
    return words


def _tag(value: object) -> str:
    words = line(value)
    # https://github.com/opencontainers/distribution-spec, "Pulling manifests"
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", words):
        raise ConfigError(f'found {found(value)}; expected a tag: letters, digits, dots, dashes, such as "noble-cuda-12.9"')
    return words


def _base(value: object) -> str:
    words = line(value)
    if "://" in words or any(character.isspace() for character in words):
        raise ConfigError(
            f'found {found(value)}; expected an image reference without scheme, such as "ghcr.io/prefix-dev/pixi:noble"'
        )
    return words


def _cuda(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"([0-9]{1,3}(\.[0-9]{1,3}){0,2})?", value):
        return value
    hint = f': write "{value}"' if isinstance(value, int | float) and not isinstance(value, bool) else ""
    raise ConfigError(f'found {found(value)}; expected a version in quotes, such as "12.9", or "" for none{hint}')


def platform(value: object) -> Architecture:
    """Return the architecture that a setting ``platform`` names.

    Raises:
        ConfigError: `value` is not a known platform.
    """
    return read_platform_setting(line(value), found(value))


def _pixi_platform(value: object) -> str:
    words = line(value)
    # Names of platforms in Pixi: PixiPlatformName, crates/pixi_manifest/src/platform.rs (pixi 0.77).
    if not re.fullmatch(r"[A-Za-z]([A-Za-z0-9-]{0,62}[A-Za-z0-9])?", words):
        raise ConfigError(
            f'found {found(value)}; expected the name of a platform in the workspace\'s manifest, such as "linux-64-cuda"'
        )
    return words


def _oci(value: object) -> str:
    words = line(value).removeprefix("docker://")
    if "://" in words or any(character.isspace() for character in words):
        raise ConfigError(
            f'found {found(value)}; expected an image such as "docker.io/library/python:3.12", '
            '"oci-archive:FILE" or "docker-archive:FILE"'
        )
    return words


def _target(value: object) -> str:
    words = line(value)
    if not re.fullmatch(r"[a-z0-9_]+", words):
        raise ConfigError(f'found {found(value)}; expected a microarchitecture as Spack names it, such as "x86_64_v3"')
    try:
        check_microarchitecture(words, "it")
        if all(is_foreign(words, one) for one in ARCHITECTURES):
            check_family(words, "it", AMD64)
    except EnvironmentFileError as error:
        raise ConfigError(str(error)) from error
    return words


def _package(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", value):
        raise ConfigError(f"found {found(value)}; expected the name of a Spack package, such as py-ray")
    return value


def _user_name(value: object) -> str:
    words = line(value)
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", words):
        raise ConfigError(
            f"found {found(value)}; expected a user's name: lower-case letters, digits, dashes and underscores"
        )
    return words


def _label_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/-]*", value):
        raise ConfigError(f"found {found(value)}; expected a label's name: letters, digits, dots, dashes, slashes")
    return value


def _named_program(words: tuple[str, ...]) -> object:
    if not words[0]:
        raise ConfigError('found "" as the first argument; expected the name of a program')
    return words


def _port(value: object) -> int:
    number = whole(1)(value)
    if number > 65535:
        raise ConfigError(f"found {found(value)}; expected a port, from 1 to 65535")
    return number


def _secret_place(values: dict[str, Any]) -> object:
    if len(values) != 1:
        raise ConfigError(
            f"found {' and '.join(values) or 'an empty table'}; expected either env or file, "
            'such as { env = "TOKEN" } or { file = "~/.token" }'
        )
    return values


def _fitting_keys(values: dict[str, Any]) -> object:
    sources = [key for key in SOURCES if key in values]
    if len(sources) > 1:
        raise ConfigError(f"{' and '.join(sources)} are set; expected one source for an image")
    fitting = _FITTING.get(sources[0]) if sources else None
    odd = next((key for key in values if fitting is not None and key not in fitting), None)
    if odd:
        raise ConfigError(
            f"{odd} cannot be combined with {sources[0]}; with {sources[0]}, use only the keys "
            f"{', '.join(sorted(fitting or ()))}"
        )
    if target := values.get("spack", {}).get("target"):
        try:
            check_family(target, "spack.target", values.get("platform", AMD64))
        except EnvironmentFileError as error:
            raise ConfigError(str(error)) from error
    return values


LINE, TEXT = Leaf(line), Leaf(text)
PLATFORM = Leaf(platform, {"type": "string", "enum": sorted(NAMES)})
COMMAND = ListOf(
    TEXT,
    "a list of words",
    ': use ["python", "train.py"], because no shell splits the text',
    least=1,
    check=_named_program,
)
SHELL_LINES = ListOf(TEXT, "a list of shell lines")
ENVIRONMENT = MapOf(variable, TEXT, "a table of strings by variable name")
BUILD_ARGUMENTS = MapOf(identifier, LINE, "a table of strings by argument name")
SECRET_NAMES = ListOf(Leaf(lambda value: identifier(line(value))), "a list of names of secrets")

STEP_TABLE = Table(
    (Key(name="run", kind=TEXT, required=True), Key(name="secrets", kind=SECRET_NAMES)),
    lambda values: Step(run=values["run"], secrets=values.get("secrets", ())),
)
STEP = Either(
    {str: Leaf(lambda value: Step(run=text(value))), dict: STEP_TABLE}, 'a shell line, or { run = "…", secrets = ["…"] }'
)
SECRET = Table(
    (Key(name="env", kind=Leaf(lambda value: identifier(line(value)))), Key(name="file", kind=LINE)), _secret_place
)

PIXI = Table(
    (
        Key(name="workspace", kind=Leaf(project_path)),
        Key(name="environment", kind=LINE),
        Key(name="cuda", kind=Leaf(_cuda)),
        Key(name="platform", kind=Leaf(_pixi_platform)),
        Key(name="secrets", kind=SECRET_NAMES),
        Key(name="files", kind=ListOf(Leaf(project_path), "a list of files and folders of the workspace")),
    )
)

USER = Table(
    (
        Key(name="name", kind=Leaf(_user_name), required=True),
        Key(name="uid", kind=number(1)),
        Key(name="gid", kind=number(1)),
        Key(name="home", kind=Leaf(image_path)),
    ),
    lambda values: User(**values),
)

SPACK = Table(
    (
        Key(name="environment", kind=Leaf(project_path)),
        Key(name="target", kind=Leaf(_target)),
        Key(name="repos", kind=ListOf(Leaf(project_path), "a list of folders")),
        Key(name="recipes", kind=MapOf(_package, Leaf(project_path), 'a table such as { py-ray = "py_ray.package.py" }')),
        Key(name="push-cache", kind=Leaf(name)),
        Key(name="cc", kind=Leaf(image_path)),
        Key(name="cxx", kind=Leaf(image_path)),
        Key(name="check", kind=Leaf(project_path)),
        Key(name="jobs", kind=number(1)),
        Key(name="user", kind=Either({str: Leaf(lambda value: User(name=_user_name(value))), dict: USER}, "a user's name")),
        Key(name="secrets", kind=SECRET_NAMES),
    )
)

DOCKERFILE = Table(
    (
        Key(name="file", kind=Leaf(project_path)),
        Key(name="context", kind=Leaf(project_path)),
        Key(name="target", kind=LINE),
    ),
    lambda values: DockerfileSource(**values),
)

IMAGE = Table(
    (
        Key(
            name="repository",
            kind=Either(
                {str: Leaf(_repository), list: ListOf(Leaf(_repository), "a list of repositories", least=1)},
                "a repository, or a list of them",
            ),
        ),
        Key(name="tags", kind=ListOf(Leaf(_tag), "a list of tags")),
        Key(name="platform", kind=PLATFORM),
        Key(name="pixi", kind=PIXI),
        Key(name="spack", kind=SPACK),
        Key(name="oci", kind=Leaf(_oci)),
        Key(
            name="dockerfile",
            kind=Either(
                {str: Leaf(lambda value: DockerfileSource(file=project_path(value))), dict: DOCKERFILE},
                'a Dockerfile, or { file = "…", context = "…", target = "…" }',
            ),
        ),
        Key(name="definition", kind=Leaf(project_path)),
        Key(name="base", kind=Leaf(_base)),
        Key(name="final-base", kind=Leaf(_base)),
        Key(name="files", kind=MapOf(project_path, Leaf(image_path), 'a table such as { "app" = "/app/src" }')),
        Key(name="setup", kind=ListOf(STEP, "a list of shell lines")),
        Key(name="test", kind=SHELL_LINES),
        Key(name="command", kind=COMMAND),
        Key(name="start", kind=COMMAND),
        Key(name="environment", kind=ENVIRONMENT),
        Key(name="labels", kind=MapOf(_label_name, LINE, "a table of strings by label name")),
        Key(name="build-args", kind=BUILD_ARGUMENTS),
        Key(name="ports", kind=ListOf(Leaf(_port, {"type": "integer", "minimum": 1, "maximum": 65535}), "a list of ports")),
        Key(name="bind-points", kind=ListOf(Leaf(image_path), "a list of folders in the image")),
        Key(name="compression", kind=one_of(("zstd", "gzip"))),
        Key(name="secrets", kind=MapOf(identifier, SECRET, 'a table such as { TOKEN = { env = "TOKEN" } }')),
    ),
    _fitting_keys,
)
