"""Print the result of ``inspect`` as text: facts, a list of packages and files (the largest first), and changes."""

import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from hpcdeploy.apptainer.sif import SifObject
from hpcdeploy.cli import show
from hpcdeploy.cli.columns import Column
from hpcdeploy.environments.inventory import Changes, Item, known_size, unknown_sizes
from hpcdeploy.flows.inspect.report import ImageReport, PublishedReport, Report, SourceReport, StageReport
from hpcdeploy.image import BuiltImage
from hpcdeploy.plain_text import written

Facts = list[tuple[str, str]]
_BAR = 24
"""Maximum length of a bar in characters."""


def tell(report: Report, *, top: int) -> None:
    """Print a report; `top` is the number of packages to list (0: all)."""
    show.labelled_facts(title_of(report), facts_of(report))
    match report:
        case SourceReport():
            _list(report.items, top)
            if report.changes is not None:
                _changes(report.changes, report.against)
            show.notes(report.notes)
        case ImageReport():
            _image(report)
            show.notes(report.notes)
        case PublishedReport():
            _section("ANNOTATIONS", "\n".join(f"{name}: {value}" for name, value in report.annotations.items()))


def title_of(report: Report) -> str:
    """Return a title for a report, in one line."""
    match report:
        case SourceReport():
            image = f"{report.image}: " if report.image else ""
            environment = f", environment {report.environment}, {report.platform}" if report.environment else ""
            return f"{image}{report.where}{environment}"
        case ImageReport():
            return report.file
        case PublishedReport():
            return report.image.reference


def facts_of(report: Report) -> Facts:
    """Return the facts of a report as names and values; the list of packages is not included, nor are unknown facts."""
    return [(name, value) for name, value in _facts(report) if value]


def _facts(report: Report) -> Facts:
    match report:
        case SourceReport():
            return _source_facts(report)
        case ImageReport():
            return _image_facts(report)
        case PublishedReport():
            image = report.image
            return [("size", written(image.size)), ("sha256", image.sha256), ("manifest", f"sha256:{image.manifest}")]


def _source_facts(report: SourceReport) -> Facts:
    packages = [item for item in report.items if item.kind != "file"]
    files = [item for item in report.items if item.kind == "file"]
    kinds = Counter(item.kind for item in packages)
    unknown = unknown_sizes(packages)
    size = f"{written(known_size(packages))}" + (f", and {unknown} of unknown size" if unknown else "")
    others = [f"{name} ({', '.join(platforms)})" for name, platforms in report.environments]
    changes = report.changes
    return [
        ("source", report.source),
        (
            "packages",
            f"{len(packages)} ({', '.join(f'{count} {kind}' for kind, count in kinds.most_common())})" if packages else "",
        ),
        ("download", size if known_size(packages) else ("unknown" if packages else "")),
        ("own files", f"{len(files)}, {written(known_size(files))}" if files else ""),
        ("CUDA wanted", report.cuda or ("none" if report.source == "pixi" else "")),
        ("glibc wanted", report.glibc),
        ("set for pixi", ", ".join(report.overrides)),
        ("target", ", ".join(report.targets)),
        ("base image", report.base),
        ("final base image", report.final_base if report.final_base != report.base else ""),
        ("stages", "; ".join(map(_stage, report.stages)) if len(report.stages) > 1 else ""),
        ("arguments", ", ".join(f"{name}={value}" for name, value in report.arguments)),
        ("channels", ", ".join(report.channels)),
        ("locked", "; ".join(others)),
        ("last build", f"{report.built.created}, {written(report.built.size)}" if report.built else ""),
        *_key_facts(report.built, report.same_image, report.same_environment),
        ("since then", _since(report)),
        (f"since {report.against}", _summary(changes, report.stale) if changes is not None else ""),
    ]


def _since(report: SourceReport) -> str:
    """Describe what has changed since the last build; empty if it is unknown."""
    if report.stale is None:
        return ""
    if not report.stale:
        return "no input changed"
    return f"{', '.join(report.stale)}; run 'hpcdeploy build {report.image}' to rebuild the image"


def _stage(stage: StageReport) -> str:
    copies = f", copies from {', '.join(stage.copies_from)}" if stage.copies_from else ""
    return f"{stage.name or '(no name)'} ({f'{stage.bootstrap} {stage.base}'.strip()}{copies})"


def _image_facts(report: ImageReport) -> Facts:
    sif, record = report.contents.sif, report.record
    primary = next((part for part in sif.partitions if part.part_type == "primary system"), None)
    return [
        ("size", written(sif.size)),
        ("architecture", sif.architecture),
        # The file itself has the time of `SOURCE_DATE_EPOCH`, or a constant time (docs/image-changes.md).
        ("created", record.created if record else _time(sif.created)),
        ("id", sif.id),
        ("file system", f"{primary.file_system} {primary.compression}".strip() if primary else "none"),
        ("signed", ", ".join(item.signer or "by a certificate" for item in sif.signatures) or "no"),
        ("sha256", record.sha256 if record else ""),
        ("built by", record.apptainer if record else report.contents.labels.get(_BUILDER, "")),
        *_key_facts(record, report.same_image, report.same_environment),
        ("base image", record.base if record else ""),
        ("apps", ", ".join(report.contents.apps)),
    ]


def _key_facts(built: BuiltImage | None, same_image: Sequence[str], same_environment: Sequence[str]) -> Facts:
    """Return the keys, the builder and the tools of a build; without a build with keys, all texts are empty."""
    has_keys = built is not None and bool(built.environment)
    return [
        ("image key", built.inputs if built and has_keys else ""),
        ("environment key", built.environment if built else ""),
        ("same image as", ", ".join(same_image)),
        ("same environment as", ", ".join(same_environment)),
        ("builder", built.builder if built else ""),
        ("other tools", ", ".join(f"{name} {version}" for name, version in built.tools) if built else ""),
    ]


_BUILDER = "org.label-schema.usage.apptainer.version"


def _list(items: Sequence[Item], top: int) -> None:
    if not items:
        return
    total = known_size(items)
    shown = items[:top] if top else items
    largest = max((item.size or 0 for item in items), default=0)
    show.put()
    columns = [Column("NAME"), Column("VERSION"), Column("KIND", drop=2), Column("SIZE"), Column("SHARE", drop=3)]
    rows = [
        [
            item.name,
            item.version or "-",
            item.kind,
            written(item.size),
            f"{item.size / total:.1%}" if item.size else "-",
        ]
        for item in shown
    ]
    if sys.stdout.isatty() and largest:
        columns.append(Column("", whole=True, drop=1))
        for row, item in zip(rows, shown, strict=True):
            row.append("█" * round((item.size or 0) / largest * _BAR))
    show.table(columns, rows)
    rest = items[len(shown) :]
    if rest:
        show.put(f"and {len(rest)} more, {written(known_size(rest))}; --top 0 lists all")


def _changes(changes: Changes, against: str) -> None:
    rows = [("+", item.name, item.version, _signed(item.size)) for item in changes.added]
    rows += [("-", item.name, item.version, _signed(item.size and -item.size)) for item in changes.removed]
    for change in sorted(changes.changed, key=lambda one: -abs((one.after.size or 0) - (one.before.size or 0))):
        before, after = change.before, change.after
        versions = f"{after.version} (another build)" if change.is_rebuild else f"{before.version} -> {after.version}"
        known = None if before.size is None or after.size is None else after.size - before.size
        rows.append(("~", after.name, versions, _signed(known)))
    if rows:
        show.put(f"\nsince {against}:")
        show.table(("", "NAME", "VERSION", "SIZE"), rows)


def _summary(changes: Changes, stale: Sequence[str] | None) -> str:
    if not (changes.added or changes.removed or changes.changed):
        return "no package changed" if stale else "nothing changed"
    rebuilt = sum(change.is_rebuild for change in changes.changed)
    words = [(len(changes.added), "added"), (len(changes.removed), "removed")]
    words += [(len(changes.changed) - rebuilt, "in another version"), (rebuilt, "in another build")]
    return f"{', '.join(f'{count} {word}' for count, word in words if count)}; {_signed(changes.size)}"


def _image(report: ImageReport) -> None:
    contents = report.contents
    show.put()
    rows = [(str(item.id), _what(item), item.name or "-", written(item.size)) for item in contents.sif.objects]
    show.table(("ID", "OBJECT", "NAME", "SIZE"), rows)
    _section("LABELS", "\n".join(f"{name}: {value}" for name, value in contents.labels.items()))
    for name in ("help", "runscript", "startscript", "test", "definition"):
        _section(name.upper(), getattr(contents, name))


def _what(item: SifObject) -> str:
    if item.kind == "partition":
        return f"{item.part_type}, {item.file_system} {item.compression}".strip()
    if item.kind == "signature":
        return f"signature of {'group' if item.links_group else 'object'} {item.link}, {item.hash}"
    return item.kind


def _section(name: str, text: str) -> None:
    if text.strip():
        show.put(f"\n{name}")
        for line in text.strip("\n").split("\n"):
            show.put(f"  {line}".rstrip())


def _signed(size: int | None) -> str:
    return "?" if size is None else f"+{written(size)}" if size > 0 else written(size)


def _time(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds > 0 else ""
    except (OverflowError, ValueError, OSError):
        return ""
