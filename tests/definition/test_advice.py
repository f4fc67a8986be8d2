"""What a definition's writer may not expect is said, one rule a test, and nothing is said of what is well."""

from pathlib import Path

import pytest

from hpcdeploy.definition.advice import advise
from hpcdeploy.definition.grammar import read_definition

HEAD = "Bootstrap: docker\nFrom: debian:trixie\n"
GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.def"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("%post\n#!/bin/bash\ntrue\n", "'#!', which is only a comment"),
        ("%post -c /bin/bash\nfalse\ntrue\n", "continues after a failed command"),
        ("%runscript -c /bin/bash\ntrue\n", "break its first line"),
        ("%runscript\n\n#!/bin/bash\ntrue\n", "not in the first line"),
        ("%startscript\n# words\n#!/bin/bash\ntrue\n", "not in the first line"),
        ("%test\nfalse\ntrue\n", "only the last command is checked"),
        ("%test\n#!/bin/bash\nfalse\ntrue\n", "only the last command is checked"),
        ("%labels\nkey\tvalue\n", "part of the label's name"),
        ("%arguments\nV=1\n%post\necho ${X#p} {{ V }}\n", "follows a '#'"),
        ("%arguments\nA={{ B }}\nB=1\n", "only by Apptainer 1.3.5 and later"),
        ("%files\n'a b' /c\n", "only double quotes"),
        ("%files\na\\ b /c\n", "only double quotes"),
        ("%files\na /tmp/a\n", "does not become part of the image"),
        ("%environment\nexport LD_LIBRARY_PATH=/x\n", "LD_LIBRARY_PATH"),
        ("%environment\nexport A=1\nexit 0\n", "exit code is 0 unless"),
        ('%environment\n[ -n "$A" ] || exit 1\n', "exit code is 0 unless"),
        ("%environment\nif [ -z $A ]; then exit; fi\n", "exit code is 0 unless"),
        ("%environment\ncase $A in a) exit;; esac\n", "exit code is 0 unless"),
        ('%environment\nA=\\"; exit; B="x"\n', "exit code is 0 unless"),
        ("%environment\nexec true\n", "%environment: 'exec' ends every container"),
        ("%appenv tool\ntrue && exit\n", "%appenv tool: 'exit' ends every container"),
        ("%files  \na /b\n", "'%files  ' copies nothing"),
        ("%files form\na /b\n", "copies nothing"),
        ("%files from a b\na /b\n", "copies nothing"),
        ("%files from # build\na /b\n", "copies nothing"),
        ('%files\n"" /b\n', "has an empty source"),
        ("%setup\ntrue\n", "outside of the container"),
        ("%pre\ntrue\n", "outside of the container"),
    ],
)
def test_it_is_said(text: str, words: str) -> None:
    [note] = advise(read_definition(HEAD + text))
    assert words in note


@pytest.mark.parametrize(
    "text",
    [
        "%post\nset -e\ntrue\n",
        "%post -c /bin/bash\nset -euo pipefail\ntrue\n",
        "%post -c /bin/bash -e\ntrue\n",
        "%post -c /bin/bash\nset -o errexit\n",
        "%runscript\n#!/bin/bash\ntrue\n",
        "%test\n#!/bin/bash -e\nfalse\ntrue\n",
        "%test\nset -e\nfalse\n",
        "%test\n# one command\ntrue\n",
        "%labels\nkey value\twith a tab\n",
        "%arguments\nV=1\n%post\necho {{ V }} # note\n",
        '%files\n"a b" /c # what\'s this\na /tmpfiles\n',
        "%environment\nexport PATH=/x:$PATH\n",
        "%environment\nexport A=exit B='; exit' C=\"; exit\"\n# ; exit\n: && exit_code=1\n(exit 1)\n",
        "%environment\nexec 3>&1 >/dev/null\nexecute=1\n",
        "%post\nexit 0\n",
        "%runscript\n#!/bin/sh\nexit 0\n",
        "%files # a note\na /b\n%files from build # a note\n/c /d\n",
    ],
)
def test_nothing_is_said_of_what_is_well(text: str) -> None:
    assert advise(read_definition(HEAD + text)) == ()


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("docker\nFrom: docker://alpine", "a registry named 'docker:', because Apptainer puts docker:// before it"),
        ("docker\nFrom: oras://example.org/x", "use 'example.org/x' alone"),
        ("docker\nFrom: https://example.org/x", "use 'example.org/x' alone"),
    ],
)
def test_a_base_with_a_scheme_is_pointed_out(header: str, words: str) -> None:
    [note] = advise(read_definition(f"Bootstrap: {header}\n"))
    assert words in note


@pytest.mark.parametrize(
    "header", ["docker\nFrom: alpine", "docker-daemon\nFrom: x:latest", "library\nFrom: library://a/b/c"]
)
def test_a_base_as_apptainer_expects_it_is_not(header: str) -> None:
    assert advise(read_definition(f"Bootstrap: {header}\n")) == ()


def test_the_stage_is_named_where_there_are_several() -> None:
    text = f"{HEAD}Stage: build\n%setup\ntrue\n{HEAD}%pre\ntrue\n"
    assert [note.partition(":")[0] for note in advise(read_definition(text))] == ["stage build", "stage 2"]


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_we_heed_our_own_advice(file: Path) -> None:
    assert advise(read_definition(file.read_text(encoding="utf-8"))) == ()
