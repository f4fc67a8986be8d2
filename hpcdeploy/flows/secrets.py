"""Read the values of a build's secrets from environment variables or files. Each secret is read once."""

import csv
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from hpcdeploy.config.named_files import Admit, files_of_secrets, in_folder, outside, refuse
from hpcdeploy.errors import ConfigError
from hpcdeploy.image import ImageSettings, Secret
from hpcdeploy.plain_text import nearest
from hpcdeploy.regular_file import LARGEST_TEXT, read_chosen, read_regular
from hpcdeploy.secret import SecretValue

_FORM = "id=NAME, id=NAME,env=VARIABLE or id=NAME,src=FILE"


def read_secrets(
    settings: ImageSettings,
    names: Collection[str],
    project: Path,
    environ: Mapping[str, str],
    given: Sequence[Secret] = (),
    *,
    admit: Admit = refuse,
) -> dict[str, SecretValue]:
    """Read the secrets `names` of a definition.

    Args:
        settings: The image's settings, which describe where secrets are read.
        names: The names of the secrets that the definition's steps use.
        project: The project's folder. Paths in the settings are relative to it.
        environ: The environment variables.
        given: Secrets from the command line, which have precedence over the settings. Paths in them are relative to the
            working folder, and may name pipes.
        admit: Refuses files outside of the project that the settings name, or confirms them, before a file is read.

    Returns:
        The values by name.

    Raises:
        ConfigError: A secret is not described, is empty or missing, or its file cannot be read or was refused. The message
            has the secret's name and where its value was looked for, but never a value.
    """
    described = {secret.name: secret for secret in settings.secrets}
    overriding = {secret.name: secret for secret in given}
    wanted = [name for name in names if name not in overriding]
    if files := outside(files_of_secrets(settings.secrets, wanted, project, environ), project):
        admit(files)
    values: dict[str, SecretValue] = {}
    for name in names:
        if name in overriding:
            values[name] = _read(overriding[name], Path.cwd(), environ, read_chosen)
        elif name in described:
            values[name] = _read(described[name], project, environ, read_regular)
        else:
            raise ConfigError(
                f"a step uses the secret {name!r}, which 'secrets' of the image {settings.name!r} does not describe: "
                f"{nearest(name, tuple(described))}; add the secret there"
            )
    return values


def parse_given(words: str) -> Secret:
    """Parse one ``--secret`` in the format of ``docker build`` (``id=NAME[,env=VARIABLE][,src=FILE]``, also ``type``).

    Without ``env`` and ``src``, the value is read from the environment variable NAME.

    Raises:
        ConfigError: `words` is malformed.
    """
    fields: dict[str, str] = {}
    for part in next(csv.reader([words]), []):
        key, _, value = part.partition("=")
        key = {"source": "src"}.get(key.strip().lower(), key.strip().lower())
        if not value or key in fields or key not in ("id", "env", "src", "type"):
            # The rest may be a value that the user wrote here by mistake, so it is not shown.
            raise ConfigError(f"--secret: found {key[:20]!r}; expected {_FORM}")
        fields[key] = value
    name, kind = fields.get("id", ""), fields.get("type", "")
    if not name or {"env", "src"} <= fields.keys() or kind not in ("", "env", "file"):
        raise ConfigError(f"--secret: found {', '.join(fields) or 'nothing'}; expected {_FORM}")
    if kind == "env" and "src" in fields:  # docker's type=env,src=VARIABLE
        fields["env"] = fields.pop("src")
    if (kind == "file") != ("src" in fields) and kind:
        raise ConfigError(f"--secret id={name}: type={kind} does not match the other fields; expected {_FORM}")
    if "src" in fields:
        return Secret(name=name, file=fields["src"])
    return Secret(name=name, env=fields.get("env", name))


def check_given(given: Sequence[Secret], images: Collection[ImageSettings]) -> None:
    """Raise `ConfigError` for a secret that none of `images` describes, because its name is probably misspelt."""
    known = tuple(dict.fromkeys(secret.name for image in images for secret in image.secrets))
    for secret in given:
        if secret.name not in known:
            raise ConfigError(
                f"--secret: the settings describe no secret {secret.name!r}: {nearest(secret.name, known)}; steps can "
                "only use secrets that are described in 'secrets'"
            )


def _read(secret: Secret, folder: Path, environ: Mapping[str, str], read: Callable[[Path, int], bytes]) -> SecretValue:
    if secret.env:
        value = environ.get(secret.env)
        if value is None:
            raise ConfigError(
                f"the secret {secret.name!r} is read from the variable {secret.env}, which is not set; set the variable, or "
                f"use --secret id={secret.name},src=FILE"
            )
        if not value:
            raise ConfigError(
                f"the secret {secret.name!r} is read from the variable {secret.env}, which is empty; set it to a "
                "value. (GitHub Actions leaves it empty if the repository has no such secret, or if a pull request "
                "comes from a fork.)"
            )
        return SecretValue(os.fsencode(value), variable=secret.env)
    path = in_folder(secret.file, folder, environ)
    try:
        return SecretValue(read(path, LARGEST_TEXT))
    except OSError as error:
        raise ConfigError(
            f"the secret {secret.name!r} is read from the file {path}, which cannot be read ({error.strerror}); create a "
            f"readable file, or use --secret id={secret.name},env=VARIABLE"
        ) from error
