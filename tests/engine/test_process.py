"""The folder of a program that is started here is private, and no other user can replace it."""

import stat
from pathlib import Path

import pytest

from hpcdeploy.engine.contract import Command
from hpcdeploy.engine.process import run_to_end
from hpcdeploy.errors import ConfigError


def command(folder: Path) -> Command:
    return Command(
        argv=("sh", f"{folder}/program.sh"), folder=str(folder), program="ls -ld ${0%/*} >${0%/*}/../said; exit 7\n"
    )


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o1777])
def test_a_program_is_laid_out_for_us_alone_and_removed(short: Path, mode: int) -> None:
    short.chmod(mode)
    assert run_to_end(command(short / "it")) == 7
    assert (short / "said").read_text().startswith(stat.filemode(stat.S_IFDIR | 0o700))
    assert not (short / "it").exists()


@pytest.mark.parametrize("mode", [0o770, 0o777])
def test_where_others_could_exchange_it_nothing_is_started(short: Path, mode: int) -> None:
    short.chmod(mode)
    with pytest.raises(ConfigError, match=rf"other users can replace files in {short}, .* set TMPDIR to such a folder"):
        run_to_end(command(short / "it"))
    assert not list(short.iterdir())
