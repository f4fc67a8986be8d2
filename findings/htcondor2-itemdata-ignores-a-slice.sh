#!/bin/bash
# htcondor2's Submit.itemdata() returns every item of "queue x in [::2] (a b c)". Seen on 2026-11-29 with htcondor 25.14.1, Python 3.11.
#
# Guess before the run: the older module htcondor and its successor htcondor2 agree; both ignore the slice in itemdata().
# Seen: htcondor 24.12.24 applies the slice (a, c); htcondor2 of 25.14.1 returns a, b, c. The same holds for "queue x from [1:] ( ... )".
# So code that passes itemdata=submit.itemdata() to schedd.submit(), and that used a slice to repeat a part of a sweep, repeats all of
# the sweep after the change to htcondor2, without a message.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export CONDOR_CONFIG=ONLY_ENV
for version in 24.12.24 25.14.1; do
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/pip" install --quiet --disable-pip-version-check "htcondor==$version"
done
cat >"$folder/items.py" <<'END_OF_PYTHON'
import importlib
import sys

bindings = importlib.import_module(sys.argv[1])
for queue in ("queue x in [::2] (a b c)", "queue x from [1:] (\na\nb\nc\n)"):
    submit = bindings.Submit("executable = /bin/echo\narguments = $(x)\n" + queue)
    print(*(item["x"] for item in submit.itemdata()))
END_OF_PYTHON
old=$("$folder/24.12.24/bin/python" -W ignore "$folder/items.py" htcondor)
new=$("$folder/25.14.1/bin/python" "$folder/items.py" htcondor2)
expect() { [ "$2" = "$3" ] || { printf '%s now returns:\n%s\nnot:\n%s\n' "$1" "$2" "$3"; exit 1; }; }
expect "htcondor 24.12.24" "$old" $'a c\nb c'
expect "htcondor2 of 25.14.1" "$new" $'a b c\na b c'
echo "as seen with htcondor 24.12.24 and 25.14.1"
