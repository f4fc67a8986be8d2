"""A built image: the file itself, without Apptainer, and the record beside it."""

from pathlib import Path

from hpcdeploy.apptainer.contents import read_contents
from hpcdeploy.apptainer.record import read_record, record_path
from hpcdeploy.errors import ConfigError
from hpcdeploy.flows.inspect.report import ImageReport
from hpcdeploy.regular_file import open_regular


def inspect_image(path: Path) -> ImageReport:
    """Report on an image file; raises `ConfigError` where it is none or is damaged, `BuildError` for a damaged record.

    Where there is a record, the whole file is read: the record counts only if the file's sha256 is the recorded one.
    """
    try:
        with open_regular(path) as file:
            contents = read_contents(file, str(path))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; expected an Apptainer image (.sif)") from error
    record = read_record(path)
    notes: tuple[str, ...] = ()
    if record is None and record_path(path).is_file():
        notes = (f"{record_path(path)} is the record of another file: this one was changed or replaced since it was built",)
    return ImageReport(file=str(path), contents=contents, record=record, notes=notes)
