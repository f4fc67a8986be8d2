"""A build on a login node whose folder for temporary files is everybody's, while another user is at work there."""

from dataclasses import replace

from hpcdeploy.cluster import Cluster
from hpcdeploy.flows.build import build_on
from hpcdeploy.transport.contract import Transport
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.builds.conftest import Quick
from tests.sessions import session


def test_a_folder_that_somebody_else_has_foreseen_is_not_used(
    lab: Lab, place: Cluster, transport: Transport, quick: Quick
) -> None:
    definition = quick("beside", post="true")
    planted = f"/tmp/build-{definition.inputs[:16]}"
    watch = f"mkdir -m 0777 {planted} && stat -c %U {planted}"
    made = inside(lab, ["sh", "-c", watch], user=lab.colleague)
    assert made.stdout.decode().strip() == lab.colleague, made.stderr.decode()
    try:
        image = build_on(definition, session(replace(place, tmp="/tmp"), transport))
        assert transport.run(["test", "-O", image.path]).exit_code == 0
        look = inside(lab, ["sh", "-c", f"find {planted}; ls -d {planted}-*"])
        assert look.stdout.decode().split() == [planted], "nothing lies in there, and nothing of ours is left"
    finally:
        inside(lab, ["rm", "-rf", planted])
