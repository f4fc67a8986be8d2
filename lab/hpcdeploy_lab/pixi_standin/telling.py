"""Format the output of ``pixi list`` and ``pixi info``."""

import re
from collections.abc import Mapping
from typing import Any

from rattler import RepoDataRecord
from rattler import __version__ as rattler_version

from hpcdeploy_lab.pixi_standin import DESCRIPTION, VERSION
from hpcdeploy_lab.pixi_standin.locking import PythonPackage
from hpcdeploy_lab.pixi_standin.platforms import PLATFORM
from hpcdeploy_lab.pixi_standin.workspace import Environment, Workspace


def package(record: RepoDataRecord, environment: Environment) -> dict[str, Any]:
    """Return a package's fields, named as in ``pixi list --json``."""
    name = record.name.normalized
    spec = environment.dependencies.get(name)
    return {
        "name": name,
        "version": str(record.version),
        "build": str(record.build),
        "build_number": record.build_number,
        "size_bytes": record.size,
        "kind": "conda",
        "source": record.channel,
        "license": record.license,
        "is_explicit": spec is not None,
        "md5": record.md5.hex() if record.md5 else None,
        "sha256": record.sha256.hex() if record.sha256 else None,
        "subdir": record.subdir,
        "file_name": record.file_name,
        "url": record.url,
        "requested_spec": spec.removeprefix(name).strip() if spec else None,
        "constrains": list(record.constrains),
        "depends": list(record.depends),
    }


def python_package(package: PythonPackage, environment: Environment) -> dict[str, Any]:
    """Return a Python package's fields, named as in ``pixi list --json``."""
    return {
        "name": package.name,
        "version": package.version,
        "build": None,
        "size_bytes": None,
        "kind": "pypi",
        "source": package.location,
        "is_explicit": package.name in environment.pypi,
        "sha256": package.sha256 or None,
        "is_editable": package.editable,
    }


def table(packages: list[dict[str, Any]]) -> str:
    """Format packages (values of `package` and `python_package`) as a table."""
    rows = [("Name", "Version", "Build", "Size", "Kind", "Source")]
    for item in packages:
        size = f"{item['size_bytes'] / 1024:.2f} KiB" if item["size_bytes"] is not None else ""
        rows.append((item["name"], item["version"], item["build"] or "", size, item["kind"], item["source"]))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "".join(
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() + "\n" for row in rows
    )


def matching(packages: list[dict[str, Any]], pattern: str | None) -> list[dict[str, Any]]:
    """Return the packages whose name matches the regular expression `pattern`, sorted by name."""
    kept = [item for item in packages if pattern is None or re.search(pattern, item["name"])]
    return sorted(kept, key=lambda item: str(item["name"]))


def info(workspace: Workspace | None, offered: tuple[str, ...], cache: str) -> dict[str, Any]:
    """Return the fields of ``pixi info --json``; `offered` are the machine's virtual packages, `cache` the cache folder."""
    project = None
    if workspace is not None:
        project = {"name": workspace.name, "manifest_path": str(workspace.manifest), "version": workspace.version}
    environments = workspace.environments if workspace else {}
    return {
        "platform": PLATFORM,
        "version": f"{VERSION} ({DESCRIPTION}, on py-rattler {rattler_version})",
        "virtual_packages": list(offered),
        "cache_dir": cache,
        "project_info": project,
        "environments_info": [_environment(workspace, item) for item in environments.values()] if workspace else [],
    }


def _environment(workspace: Workspace, environment: Environment) -> dict[str, Any]:
    return {
        "name": environment.name,
        "dependencies": list(environment.dependencies),
        "pypi_dependencies": list(environment.pypi),
        "platforms": list(environment.platforms),
        "tasks": list(environment.tasks),
        "channels": list(environment.channels),
        "prefix": str(workspace.prefix(environment.name)),
        "system_requirements": {"cuda": environment.cuda or None},
    }


def info_text(fields: Mapping[str, Any]) -> str:
    """Format the result of `info` as text."""
    lines = ["System", "------------"]
    lines += [_line("Pixi version", fields["version"]), _line("Platform", fields["platform"])]
    lines += [_line("Virtual packages" if not i else "", item) for i, item in enumerate(fields["virtual_packages"])]
    lines.append(_line("Cache dir", fields["cache_dir"]))
    if fields["project_info"]:
        project = fields["project_info"]
        lines += ["", "Workspace", "------------", _line("Name", project["name"]), _line("Version", project["version"])]
        lines += [_line("Manifest file", project["manifest_path"]), "", "Environments", "------------"]
    for item in fields["environments_info"]:
        lines += [_line("Environment", item["name"])]
        for label, key in (("Channels", "channels"), ("Dependencies", "dependencies"), ("Target platforms", "platforms")):
            lines.append(_line(label, ", ".join(item[key])))
        if item["system_requirements"]["cuda"]:
            lines.append(_line("System requirements", f"cuda = {item['system_requirements']['cuda']}"))
        lines += [_line("Prefix location", item["prefix"]), _line("Tasks", ", ".join(item["tasks"])), ""]
    return "\n".join(lines).rstrip() + "\n"


def _line(label: str, value: object) -> str:
    return f"{label:>20}: {value}"
