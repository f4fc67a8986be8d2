"""What stands in a login shell's output, and what of it is the answer."""

import pytest

from hpcdeploy.remote.answers import read_answer


def test_the_marked_line_is_found_among_all_that_a_login_shell_prints() -> None:
    said = b'Welcome to HPCDEPLOY {"a": 0}\nHPCDEPLOY users meet on Friday\nHPCDEPLOY {"a": 1, "b": "x y"}\nBye\n'
    assert read_answer(said) == {"a": 1, "b": "x y"}


@pytest.mark.parametrize("said", [b"", b"Welcome\n", b"HPCDEPLOY fence begin out\n", b"HPCDEPLOY {users} meet\n"])
def test_without_a_marked_line_there_is_no_answer(said: bytes) -> None:
    assert read_answer(said) is None


@pytest.mark.parametrize("before", [b"title", b"\x1b]0;hpc\x07", b"\xff", b'HPCDEPLOY {"on Friday"} '])
def test_an_answer_begins_anywhere_in_its_line(before: bytes) -> None:
    assert read_answer(before + b'HPCDEPLOY {"a": "HPCDEPLOY {}"}\nBye\n') == {"a": "HPCDEPLOY {}"}


def test_the_last_of_two_answers_counts() -> None:
    assert read_answer(b'HPCDEPLOY {"a": 1}\nHPCDEPLOY {"a": 2}\n') == {"a": 2}


@pytest.mark.parametrize("name", ["a\u2028b\u0085c", "caf\udce9"])
def test_a_name_comes_through_whatever_its_bytes_are(name: str) -> None:
    assert read_answer(f'HPCDEPLOY {{"folder": "{name}"}}\n'.encode("utf-8", "surrogateescape")) == {"folder": name}


@pytest.mark.parametrize("said", [b'HPCDEPLOY {"job_id": "4', b"HPCDEPLOY {}}\n"])
def test_a_line_that_was_cut_is_shown(said: bytes) -> None:
    with pytest.raises(ValueError, match=r"answered 'HPCDEPLOY \{.*, which is not JSON"):
        read_answer(said)
