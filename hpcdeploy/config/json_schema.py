"""Derive the JSON Schema of a settings file from its declaration, for editors that complete and check TOML.

It is draft 4 of JSON Schema: Taplo, the language server of the editors' TOML extensions (Even Better TOML), documents no
later one (``site/site/configuration/developing-schemas.md`` in tamasfe/taplo), and others read it too. Draft 4 also takes
``1.0`` for no whole number, as TOML does; later drafts do.

A schema accepts what the reader accepts. It refuses unknown keys, missing keys and wrong types; other rules (a path, an
amount with its unit, two keys that exclude each other) only the reader knows.
"""

import re
from collections.abc import Mapping

from hpcdeploy.config.reading import Either, Key, Kind, Leaf, ListOf, MapOf, Table

DRAFT = "http://json-schema.org/draft-04/schema#"

_TYPES = {str: "string", int: "integer", bool: "boolean", list: "array", dict: "object"}

_LINK = re.compile(r"\[([^\][]*)\]\([^()]*\)")
"""A link in Markdown: pages of the documentation are not beside a project's settings."""


def json_schema(table: Table, title: str) -> dict[str, object]:
    """Return the schema of a file whose content is `table`."""
    return {"$schema": DRAFT, "title": title, **of_kind(table)}


def of_kind(kind: Kind) -> dict[str, object]:
    """Return the schema of one value."""
    match kind:
        case Leaf(_, accepts):
            return dict(accepts)
        case ListOf(item, expected):
            least = {"minItems": kind.least} if kind.least else {}
            return {"type": "array", "description": _sentence(expected), "items": of_kind(item), **least}
        case MapOf(_, item, expected):
            return {"type": "object", "description": _sentence(expected), "additionalProperties": of_kind(item)}
        case Table(keys):
            required = [key.name for key in keys if key.required]
            return {
                "type": "object",
                "properties": {key.name: _of_key(key) for key in keys},
                "additionalProperties": False,
                **({"required": required} if required else {}),
            }
        case Either(kinds, expected):
            return {"description": _sentence(expected), "anyOf": [_of_type(kind, of) for of, kind in kinds.items()]}


def _of_key(key: Key) -> Mapping[str, object]:
    schema = of_kind(key.kind)
    return schema | {"description": _sentence(_LINK.sub(r"\1", key.meaning))} if key.meaning else schema


def _of_type(kind: Kind, of: type) -> Mapping[str, object]:
    """Return the schema of one value whose TOML type is `of`."""
    return of_kind(kind) | {"type": _TYPES[of]}


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
