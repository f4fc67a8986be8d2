"""Every word of a command and every value of its environment reaches the program exactly as it was typed."""

import json

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hpcdeploy.cluster import Cluster, SchedulerName
from hpcdeploy.job import Array, Job
from hpcdeploy.remote.connections import Connections
from hpcdeploy.staged_files import Delivery
from hpcdeploy.store import Store
from hpcdeploy_lab.inside import inside
from hpcdeploy_lab.state import Lab
from tests.cluster.conftest import image_file
from tests.cluster.driving import output_of, submit_job, wait_for

PROGRAM = (
    "import json, os, sys; print(json.dumps([sys.argv[1:], {k: v for k, v in os.environ.items() if k.startswith('V_')}]))"
)
END = "-- the end of one list --"
ANY = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
NASTY = st.text(st.sampled_from("ab \"'$;\\\n\t`#%&|<>(){}[]*?~!=:,^é☃"), max_size=12)
KNOWN = st.sampled_from(
    ["", " ", "--", "-n", "$HOME", "$(id)", "`id`", "a\nb", "%post", "{{ X }}", "$(Process)", "'", '"', "\\", "ü"]
)
ARGUMENTS = st.lists(ANY | NASTY | KNOWN, max_size=6)
LISTS = st.lists(ARGUMENTS, min_size=100, max_size=100)
VALUES = st.lists(ANY | NASTY | KNOWN, min_size=20, max_size=20)


@pytest.mark.parametrize("scheduler", ["slurm", "htcondor"])
def test_two_hundred_argument_lists_arrive_as_they_were_typed(
    scheduler: SchedulerName, cluster: Cluster, delivery: Delivery, connections: Connections, store: Store
) -> None:
    checked = 0

    # Each example is one array submission with a hundred argument lists in its command, so 2 x 100 lists a scheduler.
    # Shrinking would submit hundreds of jobs more; what failed is printed whole instead.
    @settings(
        max_examples=2,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(LISTS, VALUES)
    def check(lists: list[list[str]], values: list[str]) -> None:
        nonlocal checked
        words = [word for arguments in lists for word in (*arguments, END)]
        environment = tuple((f"V_{number}", value) for number, value in enumerate(values))
        job = Job(
            name="words",
            image="test",
            command=("python3", "-c", PROGRAM, *words),
            environment=environment,
            array=Array(size=2),
        )
        run = submit_job(job, scheduler, cluster, delivery, connections, store).run
        status = wait_for(run, cluster, connections, store)
        for task in range(2):
            arrived, seen = json.loads(output_of(status, cluster, connections, task))
            assert arrived == words
            assert seen == dict(environment)
        checked += len(lists)

    check()
    assert checked >= 200


@pytest.mark.container
def test_apptainers_own_way_with_variables_would_not_do(lab: Lab, delivery: Delivery) -> None:
    """U+0081 comes out as an escaped line break: the shell interpreter inside Apptainer uses that character as a mark.

    (mvdan.cc/sh, syntax/lexer.go, escNewl; seen with Apptainer 1.4.5.) When this fails, Apptainer is mended, and variables
    could be handed over as APPTAINERENV_*.
    """
    variables = {"APPTAINERENV_V": "\u0081x"}
    seen = inside(
        lab, ["apptainer", "exec", "--no-eval", image_file(lab), "printenv", "V"], user=lab.user, environment=variables
    )
    assert seen.stdout.decode() == "\\\nx\n"
