"""Jobs without a container, for a lab whose Debian has no Apptainer: a script that starts the program takes its place.

The program runs on the node itself, where the environment and the folders are other ones than an image's.
"""

import hashlib
from dataclasses import replace

from hpcdeploy.cluster import Cluster
from hpcdeploy.staged_files import Delivery
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab

IMAGE = b"no image: nothing opens it\n"
DELIVERY = Delivery(sha256=hashlib.sha256(IMAGE).hexdigest(), size=len(IMAGE))
SCRIPT = b"""#!/bin/sh
while [ "$#" -gt 0 ]; do
  case $1 in *.sif) shift; exec "$@" ;; esac
  shift
done
"""


def runs_containers(lab: Lab) -> bool:
    """Tell whether the lab has Apptainer."""
    return (lab.rootfs / "usr/bin/apptainer").exists()


def without_container(cluster: Cluster, lab: Lab) -> Cluster:
    """Put the script and an image that it does not open into a lab; return the cluster that uses them."""
    folder = f"{lab.scratch}/no-container"
    put(lab, f"{folder}/images/{DELIVERY.sha256}.sif", IMAGE)
    put(lab, f"{folder}/apptainer", SCRIPT)
    return replace(cluster, apptainer=f"{folder}/apptainer", image_cache=f"{folder}/images")


def put(lab: Lab, path: str, content: bytes) -> None:
    """Write a file of the lab as a whole, in place of one that is there: jobs of other workers may read it meanwhile."""
    line = 'mkdir -p "${1%/*}" && cat >"$1.$$" && chmod 755 "$1.$$" && mv "$1.$$" "$1"'
    done = inside(lab, ["sh", "-c", line, "sh", path], user=lab.user, stdin=content)
    assert done.returncode == 0, done.stderr.decode()
