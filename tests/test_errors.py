from collections.abc import Iterator

import hpcdeploy.errors as module
from hpcdeploy.errors import ConnectionLostError, HpcdeployError, TransportError


def tree(of: type[HpcdeployError]) -> Iterator[type[HpcdeployError]]:
    if of.__module__ != module.__name__:
        return
    yield of
    for below in of.__subclasses__():
        yield from tree(below)


def test_every_error_has_an_exit_code_of_its_own() -> None:
    codes = [error.exit_code for error in tree(HpcdeployError) if not issubclass(error, ConnectionLostError)]
    assert len(codes) == len(set(codes))
    assert ConnectionLostError.exit_code == TransportError.exit_code


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = module.__doc__ or ""
    for error in tree(HpcdeployError):
        assert f"{error.__name__} " in drawn
        assert any(error.__name__ in line and str(error.exit_code) in line for line in drawn.splitlines())
