"""Derive the JSON Schema of a settings file from the declaration of its keys, for editors that complete and check TOML.

The schema is written in draft 4 of JSON Schema, for two reasons:

- Taplo, the language server in the editors' TOML extension Even Better TOML, documents no later draft
  (``site/site/configuration/developing-schemas.md`` in tamasfe/taplo). Other tools read draft 4 too.
- In draft 4 the number ``1.0`` is not an integer, as in TOML. In later drafts it is an integer.

The schema accepts every file that `hpcdeploy.config.reading` accepts. It rejects unknown keys, missing keys and wrong types.
It does not check other rules, such as the syntax of a path, the unit of an amount, or two keys that exclude each other.
"""

import re
from collections.abc import Mapping

from hpcdeploy.config.reading import Either, Key, Kind, Leaf, ListOf, MapOf, Table

DRAFT = "http://json-schema.org/draft-04/schema#"

_TYPES = {str: "string", int: "integer", bool: "boolean", list: "array", dict: "object"}

_LINK = re.compile(r"\[([^\][]*)\]\([^()]*\)")
"""A link in Markdown; only its text is copied, because an editor cannot open a page of the documentation by its path."""


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
