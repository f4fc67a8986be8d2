"""The images of a cluster: in the folder that its settings name, and no more of them than these allow."""

import hashlib
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.flows.cancel import cancel
from hpcdeploy.flows.submit import plan_run, submit
from hpcdeploy.job import Job
from hpcdeploy.progress import Feedback
from hpcdeploy.remote.connections import Connections
from hpcdeploy.remote.submission_script import submission
from hpcdeploy.run import RunStatus, State
from hpcdeploy.staged_files import Delivery, StagedFile
from hpcdeploy.store import Store
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.cluster.driving import submit_job, wait_for
from tests.shared import OWN

BOTH = pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])
HELD = Job(name="held", image="test", command=("true",), slurm=(("hold", True),), htcondor=(("hold", "true"),))


def bash(lab: Lab, text: str) -> str:
    done = inside(lab, ["bash", "-c", text], user=lab.user)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@pytest.mark.container
@BOTH
def test_images_and_what_is_not_finished_lie_where_the_settings_say(
    lab: Lab, scheduler: SchedulerName, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    own = f"{OWN}/folders-{scheduler}"
    elsewhere = replace(
        cluster, root=f"$SCRATCH/{own}/root", image_cache=f"$SCRATCH/{own}/the images", tmp=f"$SCRATCH/{own}/the tmp"
    )
    left = f"{lab.scratch}/{own}/the tmp"
    bash(lab, f"mkdir -p '{left}'")
    bash(
        lab, f"cd '{left}' && mkdir -p pull-ofolden0/cache pull-oftoday0 other && touch -d '2 days ago' pull-ofolden0 other"
    )
    run = submit_job(
        Job(name="hello", image="test", command=("true",)), scheduler, elsewhere, delivery, connections, store
    ).run
    assert bash(lab, f"ls '{left}'").split() == ["other", "pull-oftoday0"]
    assert wait_for(run, elsewhere, connections, store).state is State.COMPLETED
    assert bash(lab, f"cd {lab.scratch}/{own} && ls && ls 'the images' && ls root").split("\n") == [
        "root",
        "the images",
        "the tmp",
        f"{delivery.sha256}.sif",
        "runs",
        "",
    ]


@pytest.mark.container
@BOTH
def test_the_least_recently_used_images_go_and_those_in_use_stay(
    lab: Lab,
    scheduler: SchedulerName,
    cluster: Cluster,
    delivery: Delivery,
    connections: Connections,
    store: Store,
    tmp_path: Path,
) -> None:
    root = f"{lab.scratch}/{OWN}/cache-{scheduler}"
    small = replace(
        cluster, root=f"$SCRATCH/{OWN}/cache-{scheduler}", image_cache_size=-(-(delivery.size + 35_000_000) // 2**20)
    )
    in_use = submit_job(HELD, scheduler, small, delivery, connections, store).run
    old, newer, built, newest = ("1" * 64, "2" * 64, "3" * 64, "4" * 64)
    bash(
        lab,
        f"""cd {root}/images
        fill() {{ truncate --size="$2" "$1.sif" && touch --date="$3 hours ago" "$1.sif"; }}
        fill {built} 5MB 9 && touch {built}.json
        fill {old} 10MB 8; fill {newer} 10MB 7; fill {newest} 8MB 1; fill mine 1MB 20
        touch --date='30 hours ago' {delivery.sha256}.sif
        for name in .{old}.parcel .{old}.records .{old}.ranges .{newer}.sif.77.0 .{built}.part .mine.part; do
          truncate --size=9MB $name && touch --date='2 days ago' $name
        done
        truncate --size=1MB .{built}.parcel
        """,
    )
    image = tmp_path / "new.sif"
    image.write_bytes(b"new" * 4_000_000)
    sha256 = hashlib.sha256(image.read_bytes()).hexdigest()
    staged = StagedFile(
        sha256=sha256, size=12_000_000, path=f"images/{sha256}.sif", what="the image new.sif", source=str(image)
    )
    brought = Delivery(sha256=sha256, size=12_000_000, upload=staged)
    said: list[bytes] = []
    run = plan_run(HELD, small, scheduler, brought, now=time.time())
    done = submit(
        run,
        submission(run, HELD, small, brought),
        connections.to(small),
        store,
        uploads=(staged,),
        feedback=Feedback(report=said.append),
    )
    there = {name.removesuffix(".sif") for name in bash(lab, f"ls {root}/images").split() if name.endswith(".sif")}
    cancel([RunStatus(run=one, tasks=(), asked=0) for one in (in_use, done.run)], lambda _: connections.to(small), store)
    assert there == {delivery.sha256, built, newest, sha256, "mine"}
    unfinished = bash(lab, f"cd {root}/images && find .[0-9m]* -size +0 | sort").split()
    assert unfinished == [f".{built}.parcel", ".mine.part"]
    words = b"".join(said).decode()
    assert f"removed the image {old}.sif (10 MB), the least recently used" in words
    assert words.index(old) < words.index(newer)
    assert "allows" not in words


def test_no_image_goes_for_one_that_is_larger_than_all_of_them_may_be(
    lab: Lab, cluster: Cluster, connections: Connections, store: Store, tmp_path: Path
) -> None:
    small = replace(cluster, root=f"$SCRATCH/{OWN}/cache-tiny", image_cache_size=3)
    bash(lab, f"mkdir -p {lab.scratch}/{OWN}/cache-tiny/images && cd $_ && truncate --size=2MB {'1' * 64}.sif")
    image = tmp_path / "new.sif"
    image.write_bytes(b"new" * 2_000_000)
    sha256 = hashlib.sha256(image.read_bytes()).hexdigest()
    staged = StagedFile(
        sha256=sha256, size=6_000_000, path=f"images/{sha256}.sif", what="the image new.sif", source=str(image)
    )
    brought = Delivery(sha256=sha256, size=6_000_000, upload=staged)
    said: list[bytes] = []
    run = plan_run(HELD, small, "slurm", brought, now=time.time())
    script = submission(run, HELD, small, brought)
    done = submit(run, script, connections.to(small), store, uploads=(staged,), feedback=Feedback(report=said.append))
    cancel([RunStatus(run=done.run, tasks=(), asked=0)], lambda _: connections.to(small), store)
    assert b"this image alone (6 MB) is more than image-cache-size allows: none is removed for it" in b"".join(said)
    assert set(bash(lab, f"ls {lab.scratch}/{OWN}/cache-tiny/images").split()) == {f"{'1' * 64}.sif", f"{sha256}.sif"}
