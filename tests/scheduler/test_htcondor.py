import json
from dataclasses import replace

import pytest

from hpcdeploy.cluster import Cluster, HtcondorContainer
from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Array, Bind, Directives, Job, Resources, Retries, Signal
from hpcdeploy.remote.submission_script import submission
from hpcdeploy.run import NEVER_BEGAN, State
from hpcdeploy.scheduler import htcondor
from hpcdeploy.scheduler.contract import Answer, Answers
from hpcdeploy.scheduler.htcondor.event_log import read_log
from hpcdeploy.scheduler.htcondor.queries import read_queue
from hpcdeploy.scheduler.htcondor.submit_description import WORTH_A_RELEASE, commands, warning_of
from tests.scheduler.samples import CACHED, CLUSTER, CONDOR_TRAIN, PLAIN, run_of

RUN = run_of(PLAIN, "htcondor", job_id="7")
SUBMITTED = "000 (007.000.000) 2026-11-20 22:35:22 Job submitted from host: <127.0.0.1:20002>\n"
EXECUTING = (
    "001 (007.000.000) 2026-11-20 22:35:23 Job executing on host: <127.0.0.1:20002?alias=lab>\n\tSlotName: slot1_1@lab\n"
)
ENDED = "005 (007.000.000) 2026-11-20 22:35:29 Job terminated.\n\t(1) Normal termination (return value {})\n"


def answers(queue: str = "", events: str = "", *, code: int = 0) -> Answers:
    return {"condor_q": Answer(text=queue, exit_code=code), "events": Answer(text=events, exit_code=0)}


def in_queue(status: int, **more: object) -> str:
    return json.dumps([{"ClusterId": 7, "ProcId": 0, "JobStatus": status, "HpcdeployRun": RUN.id, **more}])


def test_an_empty_answer_of_condor_q_is_no_error() -> None:
    assert read_queue("", {}).found == {}
    assert read_queue("\n", {}).found == {}
    assert read_queue("[\n]\n", {}).found == {}


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (1, State.PENDING),
        (2, State.RUNNING),
        (3, State.CANCELLED),
        (4, State.COMPLETING),
        (5, State.HELD),
        (7, State.SUSPENDED),
    ],
)
def test_job_status_numbers_are_those_of_the_manual(status: int, state: State) -> None:
    assert read_queue(in_queue(status), {"7": RUN.id})["7"][0].state is state


def test_a_number_from_the_future_is_unknown_and_stays_visible() -> None:
    [task] = htcondor.states(answers(in_queue(9)), [RUN])[RUN.id]
    assert (task.state, task.word) == (State.UNKNOWN, "9")


def test_a_job_whose_files_are_still_brought_says_so() -> None:
    [task] = htcondor.states(answers(in_queue(2, TransferringInput=True, NumJobStarts=2)), [RUN])[RUN.id]
    assert (task.state, task.reason, task.restarts) == (State.RUNNING, "its files are in transfer to the worker", 2)
    [task] = htcondor.states(answers(in_queue(2, TransferringInput=False, NumJobStarts=3)), [RUN])[RUN.id]
    assert (task.state, task.reason, task.restarts) == (State.RUNNING, "", 2)


@pytest.mark.parametrize("name", ["other-0123456789", None])
def test_a_job_that_has_a_lost_jobs_number_is_another_one(name: str | None) -> None:
    other = in_queue(2, HpcdeployRun=name)
    assert htcondor.states(answers(other), [RUN])[RUN.id][0].state is State.UNKNOWN
    [task] = htcondor.states(answers(other, SUBMITTED + EXECUTING + ENDED.format(0)), [RUN])[RUN.id]
    assert task.state is State.COMPLETED


def test_a_held_job_says_why() -> None:
    [task] = htcondor.states(answers(in_queue(5, HoldReason="out of | space")), [RUN])[RUN.id]
    assert (task.state, task.reason) == (State.HELD, "out of | space")


@pytest.mark.parametrize(("code", "state"), [(0, State.COMPLETED), (3, State.FAILED)])
def test_the_event_log_tells_an_end_after_the_queue_forgot(code: int, state: State) -> None:
    [task] = htcondor.states(answers("", SUBMITTED + EXECUTING + ENDED.format(code)), [RUN])[RUN.id]
    assert (task.state, task.exit_code, task.node) == (state, code, "slot1_1@lab")
    assert task.ended - task.started == 6


def test_a_program_that_left_no_note_of_its_begin_has_failed_though_its_container_ended_well() -> None:
    unbegun = {"records": Answer(text=f"other-1 0 never-began\n{RUN.id} 0 never-began\n", exit_code=0)}
    [task] = htcondor.states(answers(events=SUBMITTED + EXECUTING + ENDED.format(0)) | unbegun, [RUN])[RUN.id]
    assert (task.state, task.exit_code, task.reason) == (State.FAILED, 125, NEVER_BEGAN)
    [task] = htcondor.states(answers(events=SUBMITTED + EXECUTING + ENDED.format(3)) | unbegun, [RUN])[RUN.id]
    assert (task.state, task.exit_code, task.reason) == (State.FAILED, 3, "")
    [task] = htcondor.states(answers(events=SUBMITTED + EXECUTING + ENDED.format(0)), [RUN])[RUN.id]
    assert task.state is State.COMPLETED


@pytest.mark.parametrize(
    ("job", "container", "noted"),
    [
        (PLAIN, "universe", True),
        (PLAIN, "singularity-image", True),
        (PLAIN, "apptainer", False),
        (replace(PLAIN, outputs=("*.pt",)), "universe", False),
        (replace(PLAIN, htcondor=(("Transfer_Output_Files", "a, b"),)), "universe", False),
        (replace(PLAIN, htcondor=(("transfer_output_remaps", '"a=b"'),)), "universe", False),
    ],
)
def test_a_begin_is_noted_where_htcondor_sends_back_all_that_is_new(
    job: Job, container: HtcondorContainer, noted: bool
) -> None:
    text = submission(run_of(job, "htcondor"), job, replace(CLUSTER, htcondor_container=container), CACHED)
    assert ("notes_begin=yes" in text) == (">.hpcdeploy-begun" in text) == noted


def test_a_program_that_a_signal_ended_counts_from_128() -> None:
    log = (
        SUBMITTED
        + EXECUTING
        + "005 (007.000.000) 2026-11-20 22:35:29 Job terminated.\n\t(0) Abnormal termination (signal 9)\n"
    )
    assert read_log(log)["7"][0].exit_code == 137


def test_a_job_that_was_evicted_and_runs_again_runs() -> None:
    evicted = "004 (007.000.000) 2026-11-20 22:36:00 Job was evicted.\n"
    assert read_log(SUBMITTED + EXECUTING + evicted)["7"][0].state is State.PENDING
    assert read_log(SUBMITTED + EXECUTING + evicted + EXECUTING)["7"][0].state is State.RUNNING


def test_a_program_that_is_run_again_has_not_failed_though_its_exit_code_is_told() -> None:
    retried = (
        "004 (007.000.000) 2026-11-20 22:36:00 Job was evicted.\n"
        "\t(0) Job terminated and was requeued\n\t(1) Normal termination (return value 75)\n"
    )
    [task] = htcondor.states(answers(in_queue(1), SUBMITTED + EXECUTING + retried), [RUN])[RUN.id]
    assert (task.state, task.exit_code) == (State.PENDING, None)
    again = SUBMITTED + EXECUTING + retried + EXECUTING + ENDED.format(0)
    assert read_log(again)["7"][0].state is State.COMPLETED


HELD = "012 (007.000.000) 2026-11-20 22:37:00 Job was held.\n\tThe job exceeded its time\n\tCode {} Subcode 0\n"
REMOVED = "009 (007.000.000) 2026-11-20 22:38:00 Job was aborted.\n"


@pytest.mark.parametrize("rest", ["", REMOVED])
def test_a_hold_for_the_time_limit_is_a_timeout_while_it_lies_there_and_after_it_was_removed(rest: str) -> None:
    log = SUBMITTED + EXECUTING + HELD.format(47) + rest
    [task] = htcondor.states(answers(in_queue(5) if not rest else "", log), [RUN])[RUN.id]
    assert (task.state, task.ended - task.started) == (State.TIMEOUT, 97)
    assert htcondor.states(answers("", SUBMITTED + EXECUTING + HELD.format(1) + REMOVED), [RUN])[RUN.id][0].state is (
        State.CANCELLED
    )


def test_a_job_that_was_released_after_its_time_limit_goes_on() -> None:
    released = "013 (007.000.000) 2026-11-20 22:39:00 Job was released.\n"
    assert read_log(SUBMITTED + EXECUTING + HELD.format(47) + released)["7"][0].state is State.PENDING


@pytest.mark.parametrize(
    ("before", "seconds"),
    [
        (("2026-11-20 22:35:23", "2026-11-20 22:35:29"), 6),
        (("2026-11-20 22:35:23.946Z", "2026-11-20 22:35:29.001Z"), 6),
        (("2026-11-20 22:35:23Z", "2026-11-20 22:35:29Z"), 6),
        (("11/20 22:35:23", "11/20 22:35:29"), 0),
    ],
    ids=["iso", "sub-second", "utc", "legacy"],
)
def test_times_are_read_in_each_form_that_a_pool_may_choose(before: tuple[str, str], seconds: int) -> None:
    """DEFAULT_USERLOG_FORMAT_OPTIONS of HTCondor 23.9: a line of each was seen; XML and JSON have no effect there."""
    log = EXECUTING.replace("2026-11-20 22:35:23", before[0]) + ENDED.format(0).replace("2026-11-20 22:35:29", before[1])
    [task] = read_log(log)["7"]
    assert (task.state, task.ended - task.started, task.node) == (State.COMPLETED, seconds, "slot1_1@lab")


def test_a_removed_job_is_cancelled() -> None:
    assert read_log(SUBMITTED + "009 (007.000.000) 2026-11-20 22:36:00 Job was aborted.\n")["7"][0].state is State.CANCELLED


def test_absence_from_the_queue_is_no_success() -> None:
    [task] = htcondor.states(answers("", SUBMITTED + EXECUTING), [RUN])[RUN.id]
    assert task.state is State.UNKNOWN
    assert task.word == "RUNNING"


def test_a_schedd_that_could_not_be_asked_makes_no_job_finished() -> None:
    [task] = htcondor.states(answers("", SUBMITTED, code=1), [RUN])[RUN.id]
    assert (task.state, task.reason) == (State.UNKNOWN, "condor_q could not be queried")


def test_tasks_that_are_not_materialized_yet_are_pending() -> None:
    run = run_of(CONDOR_TRAIN, "htcondor", job_id="7")
    told = htcondor.states(answers(in_queue(2, HpcdeployRun=run.id), SUBMITTED), [run])[run.id]
    assert (told[0].state, told[99].state) == (State.RUNNING, State.PENDING)


def test_tasks_that_were_never_made_are_cancelled_with_their_cluster() -> None:
    run = run_of(CONDOR_TRAIN, "htcondor", job_id="7")
    made = "035 (007.-01.000) 2026-11-20 22:35:22 Cluster submitted from host: <127.0.0.1:20002>\n"
    removed = "036 (007.-01.000) 2026-11-20 22:36:00 Cluster removed\n"
    ended = SUBMITTED + EXECUTING + ENDED.format(0)
    between = htcondor.states(answers("", made + ended), [run])[run.id]
    assert [task.state for task in between] == [State.COMPLETED] + [State.PENDING] * 99
    after = htcondor.states(answers("", made + ended + removed), [run])[run.id]
    assert [task.state for task in after] == [State.COMPLETED] + [State.CANCELLED] * 99
    assert [task.task for task in after] == list(range(100))


def test_resources_have_one_meaning_in_both_schedulers() -> None:
    said = dict(commands(CONDOR_TRAIN, CLUSTER, "train-1"))
    assert said["request_gpus"] == "2"
    assert said["request_memory"] == "32768MB"
    assert said["request_disk"] == "10240MB"
    assert said["allowed_execute_duration"] == "14400"
    assert said["max_materialize"] == "10"
    assert said["accounting_group"] == "abc"
    assert said["+HpcdeployRun"] == '"train-1"'
    assert said["+WantGPULab"] == "true"


def test_what_a_gpu_must_be_able_to_do_is_said_by_the_current_names() -> None:
    wanted = Resources(gpus=1, gpu_memory=40960, gpu_capability=("7.5", "9.0"), gpu_runtime="12.4")
    said = dict(commands(Job(name="j", image="i", resources=wanted), CLUSTER, "j-1"))
    assert said["request_gpus"] == "1"
    assert said["gpus_minimum_capability"] == "7.5"
    assert said["gpus_maximum_capability"] == "9.0"
    assert said["gpus_minimum_memory"] == "40960MB"
    assert said["gpus_minimum_runtime"] == "12.4"
    assert "requirements" not in said


@pytest.mark.parametrize(
    "job",
    [
        Job(name="j", image="i", resources=Resources(gpu_memory=1)),
        Job(name="j", image="i", resources=Resources(gpu_capability=("8.0", ""))),
        Job(name="j", image="i", htcondor=(("Require_GPUs", "DriverVersion >= 12.2"),)),
    ],
)
def test_a_wish_for_a_gpu_without_a_gpu_is_refused_since_htcondor_would_ignore_it(job: Job) -> None:
    with pytest.raises(ConfigError, match="gpus = 1"):
        commands(job, CLUSTER, "j-1")


def test_the_variable_that_says_which_gpus_are_the_jobs_own_is_never_overridden() -> None:
    job = Job(name="j", image="i", resources=Resources(gpus=1), environment=(("CUDA_VISIBLE_DEVICES", "0"),))
    with pytest.raises(ConfigError, match="CUDA_VISIBLE_DEVICES"):
        commands(job, CLUSTER, "j-1")


@pytest.mark.parametrize(
    "job",
    [
        Job(name="j", image="i", resources=Resources(partition="gpu")),
        Job(name="j", image="i", resources=Resources(qos="long")),
        Job(name="j", image="i", resources=Resources(constraint="a100")),
        Job(name="j", image="i", resources=Resources(gpus=1, gpu_type="a100")),
        Job(name="j", image="i", resources=Resources(nodes=2)),
        Job(name="j", image="i", binds=(Bind(source="/data"),)),
        Job(name="j", image="i", htcondor=(("requirements", "true\nqueue 100"),)),
        Job(name="j", image="i", resources=Resources(account="a\nqueue 100")),
    ],
)
def test_what_htcondor_has_no_word_for_is_refused_and_never_left_out_in_silence(job: Job) -> None:
    with pytest.raises(ConfigError, match=r"HTCondor|line break"):
        commands(job, CLUSTER, "j-1")


def test_a_clusters_own_binds_are_not_left_out_in_silence_either() -> None:
    with pytest.raises(ConfigError, match="cluster 'c' has binds"):
        commands(PLAIN, Cluster(name="c", binds=(Bind(source="/data"),)), "j-1")


def test_binds_are_for_clusters_where_the_job_itself_starts_apptainer() -> None:
    job = Job(name="j", image="i", binds=(Bind(source="/data"),))
    with pytest.raises(ConfigError, match="htcondor-container"):
        commands(job, Cluster(name="c", htcondor_container="singularity-image"), "j-1")
    assert commands(job, Cluster(name="c", htcondor_container="apptainer"), "j-1")


WITH_GPU = replace(PLAIN, resources=Resources(gpus=1))


@pytest.mark.parametrize("container", ["universe", "singularity-image"])
def test_amds_gpus_are_refused_where_htcondor_starts_the_container(container: HtcondorContainer) -> None:
    site = Cluster(name="c", htcondor_container=container, gpu_vendor="amd")
    for job in (WITH_GPU, replace(PLAIN, htcondor=(("Request_GPUs", "2"),))):
        with pytest.raises(ConfigError, match='htcondor-container = "apptainer"'):
            commands(job, site, "j-1")
    assert commands(PLAIN, site, "j-1")
    assert commands(WITH_GPU, replace(site, gpu_vendor="auto"), "j-1")
    assert commands(WITH_GPU, replace(site, gpu_vendor="nvidia"), "j-1")
    assert commands(WITH_GPU, replace(site, htcondor_container="apptainer"), "j-1")


@pytest.mark.parametrize(
    ("commands", "given"),
    [
        ((("request_gpus", "1"),), True),
        ((("Request_GPUs", "2"), ("require_gpus", "Capability >= 8.0")), True),
        ((("request_gpus", "ifThenElse(NumJobStarts > 0, 2, 1)"),), True),
        ((("request_amdgpus", "1"),), True),
        ((("request_gpus", "0"),), False),
        ((("rank", "Gpus"), ("+WantGPULab", "true")), False),
    ],
)
def test_gpus_in_htcondors_own_words_reach_the_container_too(commands: Directives, given: bool) -> None:
    site = replace(CLUSTER, htcondor_container="apptainer")
    job = replace(PLAIN, htcondor=commands)
    text = submission(run_of(job, "htcondor"), job, site, CACHED)
    assert ("gpu_drivers=(nvidiactl=--nv kfd=--rocm)\n" in text) is given
    assert (' exec --no-eval ${gpu:+"$gpu"} --pwd ' in text) is given
    assert (" exec --no-eval --pwd " in text) is not given


def test_no_submit_command_stands_twice_since_the_later_would_replace_the_earlier() -> None:
    own = (("Requirements", "A || B"), ("transfer_input_files", "x, y"), ("rank", "Memory"))
    cluster = Cluster(name="c", htcondor_container="singularity-image")
    said = commands(Job(name="j", image="i", htcondor=own), cluster, "j-1")
    names = [name.lower() for name, _ in said]
    assert len(names) == len(set(names))
    assert dict(said)["requirements"].endswith(" && (A || B)")
    assert dict(said)["transfer_input_files"] == "$(sandbox), x, y"


def test_a_job_that_is_held_for_its_time_limit_is_removed() -> None:
    said = dict(commands(Job(name="j", image="i", resources=Resources(time=60)), CLUSTER, "j-1"))
    assert said["allowed_execute_duration"] == "60"
    assert said["periodic_remove"] == "JobStatus == 5 && (HoldReasonCode =?= 46 || HoldReasonCode =?= 47)"
    assert "periodic_remove" not in dict(commands(PLAIN, CLUSTER, "j-1"))
    free = Job(name="j", image="i", htcondor=(("Allowed_Job_Duration", "60"), ("Periodic_Remove", "A || B")))
    assert dict(commands(free, CLUSTER, "j-1"))["periodic_remove"].endswith("47)) || (A || B)")


def test_no_release_takes_a_persons_own_hold_away_nor_goes_on_for_ever() -> None:
    release = dict(commands(PLAIN, CLUSTER, "j-1"))["periodic_release"]
    assert 1 not in WORTH_A_RELEASE
    assert "NumHolds <= 4" in release
    own = Job(name="j", image="i", htcondor=(("Periodic_Release", "false"),))
    said = [(name, value) for name, value in commands(own, CLUSTER, "j-1") if name.lower() == "periodic_release"]
    assert said == [("Periodic_Release", "false")]


def test_retries_are_for_the_very_exit_codes_and_a_signal_counts_from_128() -> None:
    some = dict(commands(replace(PLAIN, retries=Retries(max=3, exit_codes=(75, 137))), CLUSTER, "j-1"))
    assert some["max_retries"] == "3"
    assert some["retry_until"] == "!member(ifThenElse(ExitBySignal, 128 + ExitSignal, ExitCode), {75, 137})"
    every = dict(commands(replace(PLAIN, retries=Retries(max=3)), CLUSTER, "j-1"))
    assert every["max_retries"] == "3"
    assert "retry_until" not in every


def test_a_job_that_is_not_to_be_requeued_matches_nothing_once_it_was_started_and_lost() -> None:
    job = replace(PLAIN, requeue=False, resources=Resources(time=60), htcondor=(("Requirements", "A"),))
    said = dict(commands(job, Cluster(name="c", htcondor_container="singularity-image"), "j-1"))
    assert said["requirements"].startswith("(!((MY.NumJobStarts ?: 0) > (MY.NumJobCompletions ?: 0))) && (")
    assert said["requirements"].endswith(" && (A)")
    assert said["periodic_remove"].count(" || (") == 1
    assert commands(replace(PLAIN, requeue=True), CLUSTER, "j-1") == commands(PLAIN, CLUSTER, "j-1")


def test_a_warning_before_the_time_limit_needs_a_time_limit_that_is_later() -> None:
    warned = replace(PLAIN, signal=Signal(name="USR2", before=60), resources=Resources(time=300))
    assert warning_of(warned) == ("USR2", 240)
    for time in (None, 60):
        with pytest.raises(ConfigError, match="set a longer time"):
            warning_of(replace(warned, resources=Resources(time=time)))


def test_an_array_without_a_throttle_is_materialized_at_once() -> None:
    said = dict(commands(Job(name="j", image="i", array=Array(size=1000)), CLUSTER, "j-1"))
    assert not {"max_materialize", "max_idle"} & said.keys()


def test_of_many_tasks_the_schedd_makes_a_thousand_ahead() -> None:
    said = dict(commands(Job(name="j", image="i", array=Array(size=1001)), CLUSTER, "j-1"))
    assert (said["max_idle"], "max_materialize" in said) == ("1000", False)


@pytest.mark.parametrize(("begun", "restarts"), [(0, 0), (1, 0), (3, 2)])
def test_a_hold_is_no_restart(begun: int, restarts: int) -> None:
    [task] = htcondor.states(answers(in_queue(5, NumJobStarts=begun)), [RUN])[RUN.id]
    assert (task.state, task.restarts) == (State.HELD, restarts)
    [task] = htcondor.states(answers(in_queue(1, NumJobStarts=begun)), [RUN])[RUN.id]
    assert (task.state, task.restarts) == (State.PENDING, begun)
