"""The shell sections of a definition, and what shellcheck says of them."""

import subprocess
from collections.abc import Iterable
from pathlib import Path

from hpcdeploy.definition.grammar import Stage

SHELLS = ("post", "environment", "runscript", "startscript", "test")


def check_with_shellcheck(stages: Iterable[Stage], folder: Path) -> int:
    """Fail with shellcheck's words where it finds anything in a shell section; return how many there were."""
    scripts = []
    for number, stage in enumerate(stages):
        for section in stage.sections:
            if section.name in SHELLS:
                script = folder / f"{number}-{section.name}.sh"
                body = section.body if section.body.startswith("#!") else f"#!/bin/bash\n{section.body}"
                script.write_text(body)
                scripts.append(script)
    # SC1090, SC1091: files of the image; SC2016: shell text for another shell; SC2154: variables of the image.
    command = ["shellcheck", "--exclude=SC1090,SC1091,SC2016,SC2154", *map(str, scripts)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return len(scripts)
