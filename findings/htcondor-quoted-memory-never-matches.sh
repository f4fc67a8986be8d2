#!/bin/bash
# HTCondor accepts request_memory = "1 GB" with quotes, and the job can never run. Seen on 2026-11-29 with htcondor 24.12.24, Python 3.11.
#
# Guess before the run: the quoted value is an error when the job is submitted, as 1GiB and 1.2.3G are.
# Seen: 1 GB becomes 1024, 1GiB is a parse error, and "1 GB" becomes the string "1 GB" in the job's ClassAd, as does request_disk.
# The automatic requirement TARGET.Memory >= RequestMemory then compares a number with a string. The result is an error on every machine,
# so no machine ever matches the job, and Submit.jobs() reports nothing. Program code that quotes each value, or YAML that keeps the quotes,
# must remove them before a size reaches the submit file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export CONDOR_CONFIG=ONLY_ENV
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check htcondor==24.12.24
"$folder/venv/bin/python" -W ignore - <<'END_OF_PYTHON'
import sys
import classad
import htcondor


def request(value):
    text = f"executable = /bin/true\nrequest_memory = {value}\nrequest_disk = {value}\nqueue"
    try:
        (job,) = htcondor.Submit(text).jobs()
    except htcondor.HTCondorInternalError as error:
        return str(error).split(":")[0]
    fits = classad.ClassAd({"Memory": 64000, "RequestMemory": job["RequestMemory"]})
    return job["RequestMemory"], job["RequestDisk"], classad.ExprTree("Memory >= RequestMemory").eval(fits)


for value, expected in {
    "1 GB": (1024, 1048576, True),
    "1GiB": "Parse error in expression",
    '"1 GB"': ("1 GB", "1 GB", classad.Value.Error),
}.items():
    if (seen := request(value)) != expected:
        sys.exit(f"request_memory = {value} now gives {seen}, not {expected}")
END_OF_PYTHON
echo "as seen with htcondor 24.12.24"
