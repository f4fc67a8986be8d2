"""The shell sections of a definition, and what shellcheck says of them."""

from collections.abc import Iterable

from hpcdeploy.definition.grammar import Stage
from tests.shellcheck import findings

SHELLS = ("post", "environment", "runscript", "startscript", "test")


def check_with_shellcheck(stages: Iterable[Stage]) -> int:
    """Fail with shellcheck's findings in a shell section; return how many sections there were."""
    bodies = [section.body for stage in stages for section in stage.sections if section.name in SHELLS]
    for body in bodies:
        script = body if body.startswith("#!") else f"#!/bin/bash\n{body}"
        # SC1090, SC1091: files of the image; SC2016: shell text for another shell; SC2154: variables of the image.
        assert findings(script, "--exclude=SC1090,SC1091,SC2016,SC2154") == ""
    return len(bodies)
