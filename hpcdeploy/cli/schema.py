"""Implement ``schema``: print the JSON Schema of the settings files."""

from typing import Annotated

import typer

from hpcdeploy.cli import show


def schema(
    user: Annotated[
        bool, typer.Option("--user", help="Print the schema of ~/.config/hpcdeploy/config.toml instead.")
    ] = False,
) -> None:
    """Print the JSON Schema of hpcdeploy.toml for editors.

    An editor with Taplo (Even Better TOML) completes and checks a settings file that has this first line:
    #:schema ./hpcdeploy.schema.json
    """
    from hpcdeploy.config.json_schema import json_schema
    from hpcdeploy.config.schema import PROJECT_FILE, USER_FILE

    if user:
        show.as_json(json_schema(USER_FILE, "config.toml of hpcdeploy"))
    else:
        show.as_json(json_schema(PROJECT_FILE, "hpcdeploy.toml"))
