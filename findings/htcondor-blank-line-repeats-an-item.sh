#!/bin/bash
# A blank line in the item list of an HTCondor submit file queues the item before it a second time. Seen on 2026-11-29 with the Python
# bindings htcondor 24.12.24 (Submit.jobs(), no pool needed) and htcondor2 of 25.14.1, Python 3.11.
#
# Guess before the run: blank lines and lines that begin with "#" are skipped, inside "queue x from ( ... )" and in a file.
# Seen with 24.12.24:
#   - inline, "# note" is skipped, but a blank line makes a job. The job has the value of the item before it: a, a, b.
#   - a blank first line makes a job with an empty value
#   - in a file, "# note" is an item as well: a job runs with the value "# note"
#   - "queue x in ( ... )" over the same lines skips both, as expected
# Seen with 25.14.1: itemdata() of a list with a blank line raises ValueError ("invalid qargs"); "# note" of a file is still an item.
# So a list that a program writes must have no blank line at its end. Otherwise its last task runs twice and both write the same output.
# Not tried: condor_submit itself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export CONDOR_CONFIG=ONLY_ENV
for version in 24.12.24 25.14.1; do
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/pip" install --quiet --disable-pip-version-check "htcondor==$version"
done
printf 'a\n# note\n\nb\n\n' >"$folder/items"
printf 'a\n# note\nb\n' >"$folder/note"
cat >"$folder/old.py" <<'END_OF_PYTHON'
import sys
import htcondor


def values(queue):
    submit = htcondor.Submit("executable = /bin/echo\narguments = [$(x)]\n" + queue)
    return [job["Args"][1:-1] for job in submit.jobs()]


def expect(seen, expected):
    if seen != expected:
        sys.exit(f"htcondor 24.12.24 now queues {seen}, not {expected}")


expect(values("queue x from (\na\n# note\n\nb\n\n)"), ["a", "a", "b", "b"])
expect(values("queue x from (\n\na\n)"), ["", "a"])
expect(values(f"queue x from {sys.argv[1]}"), ["a", "# note", "# note", "b", "b"])
expect(values("queue x in (\na\n# note\n\nb\n\n)"), ["a", "b"])
END_OF_PYTHON
cat >"$folder/new.py" <<'END_OF_PYTHON'
import sys
import htcondor2


def items(queue):
    submit = htcondor2.Submit("executable = /bin/echo\narguments = [$(x)]\n" + queue)
    try:
        return [item["x"] for item in submit.itemdata()]
    except ValueError as error:
        return str(error)


def expect(seen, expected):
    if seen != expected:
        sys.exit(f"htcondor2 of 25.14.1 now reads {seen}, not {expected}")


expect(items("queue x from (\na\n\nb\n)"), "invalid qargs")
expect(items("queue x from (\na\n# note\nb\n)"), ["a", "b"])
expect(items(f"queue x from {sys.argv[1]}"), ["a", "# note", "b"])
END_OF_PYTHON
"$folder/24.12.24/bin/python" -W ignore "$folder/old.py" "$folder/items"
"$folder/25.14.1/bin/python" "$folder/new.py" "$folder/note"
echo "as seen with htcondor 24.12.24 and 25.14.1"
