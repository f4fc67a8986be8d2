"""A definition file that somebody wrote: its stages, bases, arguments and files, as the build of it would have them."""

from pathlib import Path

from hpcdeploy.definition.checking import check_definition
from hpcdeploy.environments.channel_address import shown_argument, without_user
from hpcdeploy.environments.inventory import Item
from hpcdeploy.flows.generate import generate
from hpcdeploy.flows.inspect.report import SourceReport, StageReport
from hpcdeploy.image import ImageSettings
from hpcdeploy.source import DefinitionSource

_IN_BUILD = "its steps decide what is in the image, and no lock file says so; only the files that it copies are counted here"


def inspect_definition(
    settings: ImageSettings, source: DefinitionSource, project: Path, *, named: bool = False
) -> SourceReport:
    """Report on the definition of an image of the project in the folder `project`.

    `named`: the person named its file in the command, so it may lie anywhere.

    Raises `DefinitionError` where Apptainer would refuse it, and for all arguments without a value, or all files that are
    missing, at once.
    """
    definition = generate(settings, project, named=named)
    stages = check_definition(definition.text, dict(definition.build_args))
    arguments = {name: value for stage in stages for name, value in stage.arguments.items()} | dict(definition.build_args)
    return SourceReport(
        source="definition",
        where=str(project / source.file),
        base=without_user(stages[0].header.get("from", "")),
        final_base=without_user(definition.base),
        stages=tuple(
            StageReport(
                name=stage.header.get("stage", ""),
                bootstrap=stage.header["bootstrap"],
                base=without_user(stage.header.get("from", "")),
                copies_from=tuple(dict.fromkeys(copies.stage for copies in stage.files if copies.stage)),
            )
            for stage in stages
        ),
        arguments=tuple((name, shown_argument(name, value)) for name, value in arguments.items()),
        items=tuple(
            Item(name=file.staged, version="", kind="file", family="files", size=file.source.stat().st_size)
            for file in definition.files
        ),
        notes=(_IN_BUILD, *definition.notes),
    )
