"""A command's options, read by the very rules of ``[jobs.NAME]``, so that both say the same in the same words."""

from collections.abc import Mapping

from hpcdeploy.config.project import JobSettings, job_settings
from hpcdeploy.config.reading import Key, Leaf, Report, Table, read
from hpcdeploy.config.schema import JOB
from hpcdeploy.config.words import whole

_OPTIONS = Table((*JOB.keys, Key(name="throttle", kind=Leaf(whole(0)))), JOB.check)
"""A job's keys, and what only an option says: the throttle of whatever array there is."""


def read_options(given: Mapping[str, object]) -> JobSettings:
    """Read options by the keys of ``[jobs.NAME]``; None, empty lists and empty tables count as not given.

    Raises `ConfigError`, which names every option that does not hold.
    """
    report = Report(file="on the command line")
    said = {key: value for key, value in given.items() if value is not None and value not in ([], {}, ())}
    values = read(_OPTIONS, said, report)
    report.close()
    return job_settings(values)
