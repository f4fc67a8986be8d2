"""The reference of the settings and the schema say the same."""

import os
import re
from pathlib import Path

from hpcdeploy.config.files import load_project
from hpcdeploy.config.image_schema import DOCKERFILE, IMAGE, PIXI, SECRET, SPACK, STEP_TABLE, USER
from hpcdeploy.config.job_files import CODE_TABLE, INPUT_TABLE
from hpcdeploy.config.job_schema import ARRAY_TABLE, BIND_TABLE, DEFAULTS, JOB, RETRIES_TABLE, SWEEP
from hpcdeploy.config.reading import Report, parse_document, read
from hpcdeploy.config.schema import CLUSTER, PROJECT_FILE, REGISTRY, USER_FILE
from hpcdeploy.job import SETTINGS
from tests.config.reference import defaults_table, jobs_table

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docs" / "configuration.md"
PAGE = FILE.read_text(encoding="utf-8")

TABLES = {
    "Top level": PROJECT_FILE,
    "`[image]` and `[images.NAME]`": IMAGE,
    "`pixi`": PIXI,
    "`spack`": SPACK,
    "`spack.user`": USER,
    "`dockerfile`": DOCKERFILE,
    "`secrets`": SECRET,
    "A table in `setup`": STEP_TABLE,
    "`[clusters.NAME]`": CLUSTER,
    '`[registries."HOST"]`': REGISTRY,
    "`[clusters.NAME.defaults]`": DEFAULTS,
    "`[jobs.NAME]`": JOB,
    "A table in `binds`": BIND_TABLE,
    "A table in `code`": CODE_TABLE,
    "A table in `inputs`": INPUT_TABLE,
    "A table in `array`": ARRAY_TABLE,
    "`sweep`": SWEEP,
    "A table in `retries`": RETRIES_TABLE,
}


def test_every_key_is_documented_and_every_documented_key_exists() -> None:
    sections = dict(part.split("\n", 1) for part in PAGE.split("\n## ")[1:])
    documented = {
        heading: re.findall(r"^\| `([a-z-]+)` \|", body, re.MULTILINE)
        for heading, body in sections.items()
        if heading not in {"Where settings live", "Values"}
    }
    assert documented == {heading: [key.name for key in table.keys] for heading, table in TABLES.items()}


def test_the_tables_of_a_jobs_keys_are_those_of_its_declaration() -> None:
    page = PAGE
    for heading, derived in {
        "`[clusters.NAME.defaults]`": defaults_table(SETTINGS),
        "`[jobs.NAME]`": jobs_table(SETTINGS),
    }.items():
        section = page.split(f"\n## {heading}\n")[1].split("\n## ")[0]
        [table] = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)
        page = page.replace(table, derived)
    if "HPCDEPLOY_WRITE_GOLDEN" in os.environ:
        FILE.write_text(page, encoding="utf-8")
    else:
        assert page == PAGE


def test_every_example_of_the_reference_is_valid() -> None:
    examples = re.findall(r"^```toml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert examples
    for example in examples:
        report = Report(file="example")
        schema = USER_FILE if example.startswith("[registries.") else PROJECT_FILE
        read(schema, parse_document(example.encode(), "example"), report)
        report.raise_problems()


def test_every_example_project_loads() -> None:
    files = sorted((ROOT / "examples").glob("*/hpcdeploy.toml"))
    assert files
    for file in files:
        assert load_project(file.parent, {"HOME": "/nonexistent"}).file == file
