"""Image files that the real Apptainer wrote, signed and laid overlays over: this reader says of them what Apptainer says."""

import json
from pathlib import Path

from hpcdeploy.apptainer.contents import read_contents
from hpcdeploy.image import BuiltImage
from hpcdeploy.transport.contract import Transport

# A copy of the built image with an overlay and a signature, and what Apptainer itself says of it.
SIGN_AND_TELL = r"""
set -e
mkdir "$2"; cd "$2"
cp "$1" x.sif; chmod u+w x.sif
mkdir tree; echo hello > tree/file; mksquashfs tree code.sqfs -all-root -comp zstd > /dev/null
apptainer sif add --datatype 4 --parttype 4 --partfs 1 --partarch 2 --groupid 1 x.sif code.sqfs > /dev/null
mkdir home; export HOME=$PWD/home
apptainer key newpair --password '' --name t --email t@example.org --comment '' --push=false > /dev/null 2>&1
apptainer sign x.sif > /dev/null 2>&1
apptainer sif list x.sif > list; apptainer sif header x.sif > header; apptainer inspect --all x.sif > all
apptainer verify --json x.sif > verified 2> /dev/null || true
"""


def test_the_reader_says_what_apptainer_says(transport: Transport, built: BuiltImage, tmp_path: Path) -> None:
    folder = f"{built.path.partition('/images/')[0]}/reading"
    done = transport.run(["bash", "-c", SIGN_AND_TELL, "bash", built.path, folder])
    assert done.exit_code == 0, done.stderr.decode()
    for name in ("x.sif", "list", "header", "all", "verified"):
        transport.get(f"{folder}/{name}", tmp_path / name)
    with (tmp_path / "x.sif").open("rb") as file:
        contents = read_contents(file, "x.sif")

    header = (tmp_path / "header").read_text()
    assert f"Primary Architecture: {contents.sif.architecture}" in header
    assert contents.sif.id in header
    listed = [line.split("|") for line in (tmp_path / "list").read_text().splitlines() if line[:1].isdigit()]
    places = [f"{item.offset}-{item.offset + item.size}" for item in contents.sif.objects]
    assert [row[3].strip() for row in listed] == places
    assert [int(row[0]) for row in listed] == [item.id for item in contents.sif.objects]
    primary, overlay = contents.sif.partitions
    assert (primary.part_type, primary.compression) == ("primary system", "zstd")
    assert (overlay.part_type, overlay.compression) == ("overlay", "zstd")
    [signed] = contents.sif.signatures
    assert (signed.link, signed.links_group, signed.hash) == (1, True, "SHA-256")
    assert signed.signer.upper() in (tmp_path / "verified").read_text().upper()

    told = json.loads((tmp_path / "all").read_text())["data"]["attributes"]
    assert contents.labels == told["labels"]
    assert contents.test.split() == told["test"].split()
    assert contents.runscript.split() == told["runscript"].split()
    assert contents.definition.split() == told["deffile"].split()
    assert dict(contents.environment) == told["environment"]
    assert "hpcdeploy-demo" in contents.test
