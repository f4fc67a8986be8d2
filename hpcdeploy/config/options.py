"""Parse a command's options with the rules of ``[jobs.NAME]``, so that both accept the same values."""

from collections.abc import Mapping

from hpcdeploy.config.job_schema import OPTIONS
from hpcdeploy.config.project import JobSettings, job_settings
from hpcdeploy.config.reading import Report, read


def read_options(given: Mapping[str, object]) -> JobSettings:
    """Parse options by the keys of ``[jobs.NAME]``; None, empty lists and empty tables count as not given.

    Raises:
        ConfigError: Options are invalid; the message lists them all.
    """
    report = Report(file="on the command line")
    options = {key: value for key, value in given.items() if value is not None and value not in ([], {}, ())}
    values = read(OPTIONS, options, report)
    report.close()
    return job_settings(values)
