"""The tables of a job's keys in ``docs/configuration.md``, derived from the declaration of a job."""

from collections.abc import Iterable

from hpcdeploy.config.job_schema import VALUES
from hpcdeploy.job_field import Setting

_SCHEDULERS = {"slurm": "Slurm", "htcondor": "HTCondor"}


_MERGED = {
    "name": "merged with the job's, entry by entry",
    "caseless name": "merged with the job's, entry by entry",
    "destination": "merged with the job's, by the path in the container",
}


def jobs_table(settings: Iterable[Setting]) -> str:
    """Return the table of the keys of ``[jobs.NAME]`` in Markdown."""
    return _table((setting, _meaning(setting)) for setting in settings if setting.meaning)


def defaults_table(settings: Iterable[Setting]) -> str:
    """Return the table of the keys of ``[clusters.NAME.defaults]``, with how each is merged."""
    return _table((setting, _MERGED.get(setting.merge, "")) for setting in settings if setting.in_defaults)


def _table(rows: Iterable[tuple[Setting, str]]) -> str:
    lines = "".join(f"| `{one.key}` | {VALUES[one.value].type_name} |{f' {text}' if text else ''} |\n" for one, text in rows)
    return f"| Key | Type | Meaning |\n| --- | --- | --- |\n{lines}"


def _meaning(setting: Setting) -> str:
    only = f" ({_SCHEDULERS[setting.only]})" if setting.only else ""
    return f"{setting.meaning}{only}".replace("|", "\\|")
