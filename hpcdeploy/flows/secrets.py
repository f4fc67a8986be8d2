"""The values of a build's secrets: from the environment, or from files, read once and shown to nobody."""

import csv
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from hpcdeploy.config.named_files import Admit, files_of_secrets, in_folder, outside, refuse
from hpcdeploy.errors import ConfigError
from hpcdeploy.image import ImageSettings, Secret
from hpcdeploy.regular_file import LARGEST_TEXT, read_named, read_regular
from hpcdeploy.secret import SecretValue
from hpcdeploy.spelling import nearest

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
    """Read the secrets `names` (a definition's), from where the settings say or, before that, where `given` says.

    Files of the settings are relative to the folder `project`, those of `given`, which may also be pipes, to the working
    folder. What is given and not asked for is not read. Before a file is read, `admit` gets those of the settings that lie
    outside of the project, if there are any. Raises `ConfigError` that names the secret and where it was looked for, never a
    value.
    """
    described = {secret.name: secret for secret in settings.secrets}
    overriding = {secret.name: secret for secret in given}
    wanted = [name for name in names if name not in overriding]
    if files := outside(files_of_secrets(settings.secrets, wanted, project, environ), project):
        admit(files)
    values: dict[str, SecretValue] = {}
    for name in names:
        if name in overriding:
            values[name] = _read(overriding[name], Path.cwd(), environ, read_named)
        elif name in described:
            values[name] = _read(described[name], project, environ, read_regular)
        else:
            raise ConfigError(
                f"a step asks for the secret {name!r}, which 'secrets' of the image {settings.name!r} does not describe: "
                f"{nearest(name, tuple(described))}; add it there"
            )
    return values


def parse_given(words: str) -> Secret:
    """Read one ``--secret``, written as for ``docker build`` (``id=NAME[,env=VARIABLE][,src=FILE]``, also ``type``).

    With a name alone it comes from the variable of that name. Raises `ConfigError`.
    """
    fields: dict[str, str] = {}
    for part in next(csv.reader([words]), []):
        key, _, value = part.partition("=")
        key = {"source": "src"}.get(key.strip().lower(), key.strip().lower())
        if not value or key in fields or key not in ("id", "env", "src", "type"):
            # The rest may be a value that somebody wrote here by mistake: it is not repeated.
            raise ConfigError(f"--secret: found {key[:20]!r}; expected {_FORM}")
        fields[key] = value
    name, kind = fields.get("id", ""), fields.get("type", "")
    if not name or {"env", "src"} <= fields.keys() or kind not in ("", "env", "file"):
        raise ConfigError(f"--secret: found {', '.join(fields) or 'nothing'}; expected {_FORM}")
    if kind == "env" and "src" in fields:  # docker's type=env,src=VARIABLE
        fields["env"] = fields.pop("src")
    if (kind == "file") != ("src" in fields) and kind:
        raise ConfigError(f"--secret id={name}: type={kind} does not fit the rest; expected {_FORM}")
    if "src" in fields:
        return Secret(name=name, file=fields["src"])
    return Secret(name=name, env=fields.get("env", name))


def check_given(given: Sequence[Secret], images: Collection[ImageSettings]) -> None:
    """Raise `ConfigError` for what is given and none of the images that are to be built describes: a misspelt name."""
    known = tuple(dict.fromkeys(secret.name for image in images for secret in image.secrets))
    for secret in given:
        if secret.name not in known:
            raise ConfigError(
                f"--secret: no 'secrets' of the settings describe {secret.name!r}: {nearest(secret.name, known)}; steps can "
                "only ask for a secret that is described there"
            )


def _read(secret: Secret, folder: Path, environ: Mapping[str, str], read: Callable[[Path, int], bytes]) -> SecretValue:
    if secret.env:
        value = environ.get(secret.env)
        if value is None:
            raise ConfigError(
                f"the secret {secret.name!r} is to come from the variable {secret.env}, which is not set; set it, or say "
                f"--secret id={secret.name},src=FILE"
            )
        if not value:
            raise ConfigError(
                f"the secret {secret.name!r} is to come from the variable {secret.env}, which is set, but empty; give it a "
                "value (GitHub Actions sets it to nothing where the repository has no such secret, or where a pull request "
                "comes from a fork)"
            )
        return SecretValue(os.fsencode(value), variable=secret.env)
    path = in_folder(secret.file, folder, environ)
    try:
        return SecretValue(read(path, LARGEST_TEXT))
    except OSError as error:
        raise ConfigError(
            f"the secret {secret.name!r} is to come from the file {path}, which cannot be read ({error.strerror}); make it, "
            f"or say --secret id={secret.name},env=VARIABLE"
        ) from error
