import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcdeploy.errors import ConfigError
from hpcdeploy.job import Array, Job, Resources
from hpcdeploy.scheduler.slurm.directives import clock, directives, lines, quote
from tests.scheduler.samples import CLUSTER, PLAIN, SITE, TRAIN
from tests.scheduler.sbatch_tokens import sbatch_words

LINES = st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]))
NASTY_LINES = st.text(st.sampled_from("ab \\'\"#:;$%=,\t"))


@given(LINES | NASTY_LINES)
def test_a_quoted_value_comes_out_of_sbatchs_tokenizer_as_it_went_in(value: str) -> None:
    assert sbatch_words(f"--comment={quote(value)}") == [f"--comment={value}"]


def test_shell_quoting_would_be_wrong_there() -> None:
    path = "c:\\x"
    assert sbatch_words(f"--comment={shlex.quote(path)}") != [f"--comment={path}"]


@pytest.mark.parametrize("value", ["two\nlines", "carriage\rreturn", "nul\0"])
def test_a_line_break_is_refused_since_it_would_start_a_directive_of_its_own(value: str) -> None:
    with pytest.raises(ConfigError, match="line break"):
        quote(value)


def test_a_plain_job_says_its_name_its_nonce_and_nothing_that_nobody_asked_for() -> None:
    assert lines(directives(PLAIN, CLUSTER, "hello-1")).splitlines() == [
        "#SBATCH --job-name=hello-1",
        "#SBATCH --comment=hpcdeploy:hello-1",
        "#SBATCH --nodes=1",
    ]


@pytest.mark.parametrize(
    ("form", "expected"), [("gres", "gres=gpu:a100:2"), ("gpus-per-node", "gpus-per-node=a100:2"), ("gpus", "gpus=a100:6")]
)
def test_exactly_one_gpu_form_is_used(form: str, expected: str) -> None:
    job = Job(name="j", image="i", resources=Resources(nodes=3, gpus=2, gpu_type="a100"))
    cluster = CLUSTER.__class__(name="c", gpu_form=form)  # type: ignore[arg-type]
    said = [f"{option}={value}" for option, value in directives(job, cluster, "j-1") if option.startswith(("g", "gpu"))]
    assert said == [expected]


@pytest.mark.parametrize(
    ("form", "expected"), [("mem", "mem=1000M"), ("mem-per-cpu", "mem-per-cpu=334M"), ("mem-per-gpu", "mem-per-gpu=500M")]
)
def test_exactly_one_memory_form_is_used_and_never_less_than_was_asked_for(form: str, expected: str) -> None:
    job = Job(name="j", image="i", resources=Resources(gpus=2, cpus=3, memory=1000))
    cluster = CLUSTER.__class__(name="c", memory_form=form)  # type: ignore[arg-type]
    assert [f"{option}={value}" for option, value in directives(job, cluster, "j-1") if option.startswith("mem")] == [
        expected
    ]


@pytest.mark.parametrize(
    "wish",
    [{"gpu_memory": 40960}, {"gpu_capability": ("8.0", "")}, {"gpu_runtime": "12.4"}],
    ids=lambda wish: str(list(wish)),
)
def test_what_a_gpu_must_be_able_to_do_is_refused_unless_the_sites_own_words_say_it(wish: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="gpu-type"):
        directives(Job(name="j", image="i", resources=Resources(gpus=1, **wish)), CLUSTER, "j-1")
    said = directives(Job(name="j", image="i", resources=Resources(gpus=1, gpu_type="a100", **wish)), CLUSTER, "j-1")
    assert ("gres", "gpu:a100:1") in said
    free = Job(name="j", image="i", resources=Resources(gpus=1, **wish), slurm=(("constraint", "a100"),))
    assert ("constraint", "a100") in directives(free, CLUSTER, "j-1")


def test_a_time_limit_is_exact() -> None:
    assert clock(4 * 3600) == "0-04:00:00"
    assert clock(90_061) == "1-01:01:01"


def test_an_array_counts_from_zero_and_is_throttled() -> None:
    job = Job(name="j", image="i", array=Array(size=100, throttle=10))
    assert ("array", "0-99%10") in directives(job, CLUSTER, "j-1")
    assert ("array", "0-4") in directives(Job(name="j", image="i", array=Array(size=5)), CLUSTER, "j-1")


def test_free_directives_come_last_so_that_they_win() -> None:
    assert directives(TRAIN, SITE, "t-1")[-2:] == [("exclusive", None), ("constraint", 'a#b "c" \\d')]


def test_no_option_that_only_srun_knows_is_written() -> None:
    options = {option for option, _ in directives(TRAIN, SITE, "t-1")}
    assert not options & {"mpi", "cpu-bind"}
