#!/bin/bash
# slurm2sql 0.9.9 stores 1.96G of disk reads as 1 GiB, and 0.96M as 0. Seen on 2026-11-29, Python 3.11.
#
# Guess before the run: a MaxDiskRead of 1.5G is stored as 1610612736 bytes.
# Seen: it is stored as 1073741824. The fraction is cut before the unit is applied, for MaxDiskRead, MaxDiskWrite and their averages.
# MaxRSS, a size in the same row, keeps its fraction. sacct prints these four columns with two decimals (180.41M, 0.00M), so nearly each
# stored value is too low: by up to half of it, and a job that reads less than one unit has read nothing. The totals, which slurm2sql takes
# from TRESUsageInTot, are plain bytes and right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check slurm2sql==0.9.9
cat >"$folder/sacct.csv" <<'END_OF_CSV'
JobID,JobIDRaw,JobName,State,MaxRSS,MaxDiskRead,MaxDiskWrite,TRESUsageInTot
7.batch,7.batch,batch,COMPLETED,1.50G,1.96G,0.96M,"cpu=00:01:00,fs/disk=2104533975"
END_OF_CSV
"$folder/venv/bin/python" - "$folder/sacct.csv" <<'END_OF_PYTHON'
import sqlite3
import sys
import slurm2sql

database = sqlite3.connect(":memory:")
errors = slurm2sql.slurm2sql(database, csv_input=sys.argv[1])
(row,) = database.execute("SELECT MaxRSS, MaxDiskRead, MaxDiskWrite, TotDiskRead FROM slurm")
expected = 1.5 * 2**30, 2**30, 0, 2104533975
if errors or row != expected:
    sys.exit(f"{errors} errors; now {row}, not {expected}")
END_OF_PYTHON
echo "as seen with slurm2sql 0.9.9"
