import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConfigError
from hpcdeploy.flows.images import check_worker_delivery, worker_delivery

SHA256 = "ab" * 32


@pytest.mark.parametrize(
    ("image", "place"),
    [
        (f"docker://python@sha256:{SHA256}", f"docker://docker.io/library/python@sha256:{SHA256}"),
        (f"docker://ghcr.io/me/x:1@sha256:{SHA256}", f"docker://ghcr.io/me/x@sha256:{SHA256}"),
        (f"osdf:///ospool/ap20/data/me/{SHA256}.sif", None),
        (f"https://example.org/images/train-{SHA256}.sif", None),
        (f"/cvmfs/singularity.opensciencegrid.org/.images/ab/{SHA256}", None),
        (f"/cvmfs/site.example.org/{SHA256}.sif", None),
    ],
)
def test_a_worker_takes_what_says_which_content_is_meant(image: str, place: str | None) -> None:
    delivery = worker_delivery(image)
    assert delivery is not None
    assert (delivery.sha256, delivery.place, delivery.in_job) == (SHA256, place or image, True)


@pytest.mark.parametrize("image", ["oras://ghcr.io/me/x:1", "images/train.sif"])
def test_what_hpcdeploy_brings_itself_is_not_left_to_the_worker(image: str) -> None:
    assert worker_delivery(image) is None


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("docker://python:3.12", "use its digest"),
        ("osdf:///ospool/me/train.sif", "a file name that contains the image's sha256"),
        (f"https://example.org/{SHA256}/train.sif", "a file name that contains the image's sha256"),
        ("/cvmfs/singularity.opensciencegrid.org/htc/tensorflow:latest", "a file name that contains the image's sha256"),
        (f"https://example.org/{SHA256}", "ends in .sif"),
        (f"https://example.org/$(id)/{SHA256}.sif", "is not an image URL"),
        (f"https://example.org/a,b/{SHA256}.sif", "is not an image URL"),
        (f"ftp://example.org/{SHA256}.sif", "is not an image URL"),
        (f'/cvmfs/a"b/{SHA256}', "cannot be written in a submit description"),
    ],
)
def test_what_may_be_another_image_tomorrow_is_refused_with_what_to_do(image: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        worker_delivery(image)


def test_slurm_fetches_nothing_so_and_a_pool_without_file_transfer_no_addresses() -> None:
    by_url = worker_delivery(f"osdf:///ospool/{SHA256}.sif")
    on_cvmfs = worker_delivery(f"/cvmfs/site/{SHA256}.sif")
    assert by_url is not None
    assert on_cvmfs is not None
    with pytest.raises(ConfigError, match="only HTCondor's workers can fetch"):
        check_worker_delivery(on_cvmfs, Cluster(name="c"), "slurm")
    with pytest.raises(ConfigError, match="file transfer"):
        check_worker_delivery(by_url, Cluster(name="c", htcondor_container="apptainer"), "htcondor")
    check_worker_delivery(on_cvmfs, Cluster(name="c", htcondor_container="apptainer"), "htcondor")
    check_worker_delivery(by_url, Cluster(name="c"), "htcondor")
