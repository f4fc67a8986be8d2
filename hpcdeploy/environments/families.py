"""Which family a package belongs to, so that a list of hundreds can be looked at: a matter of names, by convention only."""

import re
from typing import Literal

Family = Literal["CUDA", "Python", "PyPI", "R", "libraries", "programs", "source", "files"]

# What NVIDIA's redistributable packages are called on conda-forge and in Spack.
_CUDA = re.compile(
    r"cuda([-_].*|)$|cudnn|cutensor|cusparselt|libcu(blas|dnn|fft|file|rand|solver|sparse|tensor|dss|obj|pti)"
    r"|libnv|libnpp|nccl|nvidia|nvtx|cupti|libcudss|libcufile|libcurand|libmagma|magma"
)
# "py312hb401068_0", "pyhd8ed1ab_0", "cuda129_mkl_py312_h...": builds for a Python (conda-build, the build string).
_PYTHON_BUILD = re.compile(r"(?:^|_)py(?:3\d|h[0-9a-f])")


def conda_family(name: str, url: str) -> Family:
    """Return the family of a conda package by its name and the address that the lock file has."""
    if _CUDA.match(name):
        return "CUDA"
    if name.startswith(("r-", "bioconductor-")):
        return "R"
    if name == "python" or name.startswith(("pytorch", "libtorch", "triton")) or _PYTHON_BUILD.search(_build_string(url)):
        return "Python"
    return library_family(name)


def _build_string(url: str) -> str:
    """Return the BUILD of a package's file name ``NAME-VERSION-BUILD.conda`` (or ``.tar.bz2``), empty for another file."""
    _, hyphen, last = url.rpartition("-")
    stem = last.removesuffix(".conda") if last.endswith(".conda") else last.removesuffix(".tar.bz2")
    return stem if hyphen and stem != last and "/" not in stem else ""


def library_family(name: str) -> Family:
    """Return whether a package that is of no language's own is a library or a program, by its name."""
    if _CUDA.match(name):
        return "CUDA"
    return "libraries" if name.startswith(("lib", "_")) or name.endswith(("lib", "-libs")) else "programs"
