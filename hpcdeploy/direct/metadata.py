"""Make what Apptainer adds to an image: ``/.singularity.d``, folders for mounts, labels, and the metadata of the SIF.

Names, modes, formats and the order of values are those of Apptainer 1.4.5 (compared with its images in
tests/builds/test_direct_in_lab.py; ``internal/pkg/build/files`` and ``assemblers/sif.go`` name the same files). The shell
texts are hpcdeploy's own. hpcdeploy's definitions have no SCIF apps, so there is no code for them.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from hpcdeploy.definition.grammar import Stage, split_stages, substitute
from hpcdeploy.direct.entries import Entry, OwnLayer, text_entry
from hpcdeploy.direct.sif_writer import JsonObject
from hpcdeploy.direct.tree import Tree
from hpcdeploy.frozen import frozen
from hpcdeploy.source import OciConfig

_D = ".singularity.d"
_FOLDERS = (
    *((name, 0o755) for name in ("dev", "etc", "home", "proc", "sys", "var", f"{_D}", f"{_D}/libs")),
    *(("root", 0o700), ("tmp", 0o1777), ("var/tmp", 0o1777), (f"{_D}/actions", 0o755), (f"{_D}/env", 0o755)),
)
_LINKS = {
    ".exec": f"{_D}/actions/exec", ".run": f"{_D}/actions/run", ".shell": f"{_D}/actions/shell",
    ".test": f"{_D}/actions/test", "environment": f"{_D}/env/90-environment.sh", "singularity": f"{_D}/runscript",
}  # fmt: skip
_READ = """\
for file in /.singularity.d/env/*.sh; do
    [ ! -f "$file" ] || . "$file"
done
"""
_ACTIONS = {
    "exec": f'#!/bin/sh\n{_READ}exec "$@"\n',
    "run": f'#!/bin/sh\n{_READ}exec /.singularity.d/runscript "$@"\n',
    "shell": f'#!/bin/sh\n{_READ}[ ! -x /bin/bash ] || exec /bin/bash --norc "$@"\nexec /bin/sh "$@"\n',
    "start": f"#!/bin/sh\n# Tell the first process of the instance to continue.\nkill -CONT 1\n{_READ}"
    "[ ! -x /.singularity.d/startscript ] || exec /.singularity.d/startscript\n",
    "test": f'#!/bin/sh\n{_READ}[ ! -x /.singularity.d/test ] || exec /.singularity.d/test "$@"\n',
}
_BASE_ENV = "#!/bin/sh\n# Variables of the base image and of the definition are in the files that follow.\n"
_APPS_ENV = """\
#!/bin/sh
if [ -n "${SINGULARITY_APPNAME:-}" ]; then
    echo "this image has no app ${SINGULARITY_APPNAME}" >&2
    exit 1
fi
"""
_LAST_ENV = """\
#!/bin/sh
# --nv and similar options mount the host's libraries at this path.
LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}/.singularity.d/libs"
PS1="${PS1:-Apptainer> }"
export LD_LIBRARY_PATH PS1
"""
_RUNTIME_ENV = """\
#!/bin/sh
# The options --env PATH, PREPEND_PATH and APPEND_PATH arrive in these variables.
PATH="${SING_USER_DEFINED_PREPEND_PATH:+$SING_USER_DEFINED_PREPEND_PATH:}$PATH"
PATH="$PATH${SING_USER_DEFINED_APPEND_PATH:+:$SING_USER_DEFINED_APPEND_PATH}"
PATH="${SING_USER_DEFINED_PATH:-$PATH}"
export PATH
unset SING_USER_DEFINED_PREPEND_PATH SING_USER_DEFINED_APPEND_PATH SING_USER_DEFINED_PATH
"""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_LABELS = "org.label-schema"


@frozen
class ImageText:
    """The texts of an image.

    Attributes:
        stage: The last stage of the definition, with its templates replaced.
        definition: The definition, with all templates replaced.
        config: The configuration of the base image.
        settings: The JSON object ``config`` of the base image.
        variables: The variables that every start of a container reads after those of ``%environment``.
        labels: Labels that override those of the base image.
        drop_variables: Whether the definition sets all variables of the base image itself.
        time: The time of the build, in seconds since 1970.
    """

    stage: Stage
    definition: str
    config: OciConfig
    settings: Mapping[str, object]
    variables: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    drop_variables: bool = False
    time: int = 0


def stored_definition(text: str, build_args: Mapping[str, str]) -> str:
    """Return the definition as an image stores it: without lines before the first stage, and with templates replaced."""
    whole = substitute(text, build_args)
    stages = [part for part in split_stages(whole) if part.lower().startswith("bootstrap:")]
    return "".join(stages).rstrip("\n") + "\n"


def base_layer(tree: Tree, time: int) -> OwnLayer:
    """Return the folders and files that Apptainer needs in every image, without folders that `tree` already has."""
    entries = [Entry(path=path, kind="folder", mode=mode, mtime=time) for path, mode in _FOLDERS if tree.find(path) is None]
    # Apptainer mounts the host's files over these. So it needs files, and their content is irrelevant.
    entries += [text_entry(f"etc/{name}", "", mtime=time) for name in ("hosts", "resolv.conf")]
    return OwnLayer(entries)


def metadata_layer(text: ImageText) -> OwnLayer:
    """Return ``/.singularity.d`` and the links to it."""
    files = [(f"actions/{name}", content, 0o755) for name, content in _ACTIONS.items()]
    files += [(f"env/{name}", content, 0o755) for name, content in _environment(text).items()]
    files += [(f"env/{name}", content, 0o755) for name, content in _FIXED.items()]
    files += [(name, content, 0o755) for name, content in _scripts(text.stage).items()]
    if text.variables:
        files.append(("env/91-environment.sh", text.variables, 0o644))
    if help_text := text.stage.section("help"):
        files.append(("runscript.help", f"{help_text}\n", 0o644))
    files.append(("labels.json", _json(labels(text), indent="\t"), 0o644))
    files.append(("Singularity", text.definition, 0o644))
    entries = [text_entry(f"{_D}/{name}", content, mode=mode, mtime=text.time) for name, content, mode in sorted(files)]
    links = [Entry(path=path, kind="link", mode=0o777, target=target, mtime=text.time) for path, target in _LINKS.items()]
    return OwnLayer([*entries, *links])


def sif_objects(text: ImageText) -> tuple[JsonObject, ...]:
    """Return the JSON objects of the SIF, from which ``apptainer inspect`` reads."""
    scripts = {name: content.rstrip("\n") for name, content in _scripts(text.stage).items()}
    attributes: dict[str, object] = {
        "environment": {f"/{_D}/env/{name}": content.rstrip("\n") for name, content in sorted(_shown(text).items())},
        "labels": labels(text),
        "runscript": scripts.get("runscript", ""),
        "test": scripts.get("test", ""),
        "helpfile": text.stage.section("help").rstrip("\n"),
        "deffile": text.definition.rstrip("\n"),
        "startscript": scripts.get("startscript", ""),
    }
    kept = {name: value for name, value in attributes.items() if value}
    metadata = _json({"data": {"attributes": kept}, "type": "container"})
    config = _json({name: text.settings[name] for name in sorted(text.settings) if text.settings[name] is not None})
    return (
        JsonObject(name="inspect-metadata.json", content=metadata.encode()),
        JsonObject(name="oci-config.json", content=config.encode()),
    )


def labels(text: ImageText) -> dict[str, str]:
    """Return the labels: those of the base image, of ``%labels`` unless the base image has them, and of the settings."""
    found = dict(text.config.labels)
    for line in text.stage.section("labels").splitlines():
        name, _, value = line.strip().partition(" ")
        if name and not name.startswith("#"):
            found.setdefault(name, value.strip())
    found |= dict(text.labels)
    when = datetime.fromtimestamp(text.time, UTC)
    found |= {
        f"{_LABELS}.build-arch": "amd64",
        # Apptainer does not pad these numbers, and writes English names in every locale.
        f"{_LABELS}.build-date": f"{_DAYS[when.weekday()]}_{when.day}_{_MONTHS[when.month - 1]}_{when.year}_"
        f"{when.hour}:{when.minute}:{when.second}_UTC",
        f"{_LABELS}.schema-version": "1.0",
    }
    if text.stage.section("help"):
        place = f"/{_D}/runscript.help"
        found |= {f"{_LABELS}.usage": place, f"{_LABELS}.usage.apptainer.runscript.help": place}
    found |= {f"{_LABELS}.usage.singularity.deffile.{key}": value for key, value in text.stage.header.items()}
    return dict(sorted(found.items()))


def _environment(text: ImageText) -> dict[str, str]:
    """Return the files of variables that depend on the image."""
    base = "" if text.drop_variables else "#!/bin/sh\n" + "".join(_variable_lines(text.config.env))
    own = text.stage.section("environment")
    return {
        "10-docker2singularity.sh": base,
        "90-environment.sh": f"#!/bin/sh\n# The variables of the definition's %environment.\n\n{own}\n",
    }


_FIXED = {
    "01-base.sh": _BASE_ENV, "94-appsbase.sh": "", "95-apps.sh": _APPS_ENV, "99-base.sh": _LAST_ENV,
    "99-runtimevars.sh": _RUNTIME_ENV,
}  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November"),
    "December",
)


def _shown(text: ImageText) -> dict[str, str]:
    variables = {"91-environment.sh": text.variables} if text.variables else {}
    return {**_environment(text), **variables}


def _variable_lines(env: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Yield the lines of Apptainer 1.5 for the base image's ENV: a variable of the host wins, except PATH.

    Apptainer 1.4 quotes each value twice, which ``defs/parts/base_variables.def`` corrects; so this is the final state.
    """
    for name, value in env:
        if not _NAME.fullmatch(name):
            continue  # it would end the file with an error
        quoted = re.sub(r'([\\"`$])', r"\\\1", value)
        yield f'export PATH="{quoted}"\n' if name == "PATH" else f'export {name}="${{{name}:-{_inner(quoted)}}}"\n'


def _inner(quoted: str) -> str:
    return f'"{quoted}"' if quoted else ""


def _scripts(stage: Stage) -> dict[str, str]:
    sections = ((name, stage.section(name)) for name in ("runscript", "startscript", "test"))
    return {name: _script(body) for name, body in sections if body}


def _script(body: str) -> str:
    """Return a section as a script: its own first line ``#!...``, or that of sh, and a blank line before the rest."""
    first, _, rest = body.partition("\n")
    shebang, rest = (first, rest) if first.startswith("#!") else ("#!/bin/sh", body)
    return f"{shebang}\n\n{rest}\n"


def _json(value: object, indent: str | None = None) -> str:
    """Return JSON as Go's encoding/json writes it: some characters of HTML are escaped."""
    separators = (",", ": ") if indent else (",", ":")
    text = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators)
    return re.sub("[<>&\u2028\u2029]", lambda match: f"\\u{ord(match[0]):04x}", text)
