"""The table of base images: what fits an environment's CUDA version, and whose C library is known to be too old."""

from pathlib import Path

import pytest

from hpcdeploy.definition.base_images import Bases, check_glibc, choose_base, known_glibc, load_bases
from hpcdeploy.errors import DefinitionError, TemplateError

SHIPPED = load_bases()
BASES = Bases(
    repository="r.example.org/pixi",
    plain="noble",
    cuda=(("12.9.1", "b"), ("12.6.3", "a"), ("13.0.0", "c"), ("12.10.0", "d")),
    glibc=(("*noble*", "2.39"), ("*", "2.17")),
)


@pytest.mark.parametrize(
    ("cuda", "tag"),
    [
        ("12.9", "b"),
        ("12.9.1", "b"),
        ("12.9.0", "b"),
        ("12.8", "a"),
        ("12.11", "d"),
        ("13", "c"),
        ("13.2", "c"),
        ("12", "noble"),
        ("12.5", "noble"),
        ("11.8", "noble"),
        ("14.0", "noble"),
    ],
)
def test_the_newest_base_of_the_same_major_version_that_is_no_newer_is_chosen(cuda: str, tag: str) -> None:
    image, reason = choose_base(BASES, cuda)
    assert image == f"r.example.org/pixi:{tag}"
    assert image in reason
    assert cuda in reason
    assert ("without CUDA" in reason) == (tag == "noble")


def test_without_cuda_the_plain_base_is_taken_and_nothing_needs_saying() -> None:
    assert choose_base(SHIPPED, "") == ("ghcr.io/prefix-dev/pixi:noble", "")


@pytest.mark.parametrize(("cuda", "tag"), [("12.9", "noble-cuda-12.9.1"), ("13.0", "noble-cuda-13.0.0"), ("12.6", "noble")])
def test_the_shipped_table_knows_the_tags_of_pixi_docker(cuda: str, tag: str) -> None:
    assert choose_base(SHIPPED, cuda)[0] == f"ghcr.io/prefix-dev/pixi:{tag}"


@pytest.mark.parametrize(
    ("image", "glibc"),
    [
        ("ghcr.io/prefix-dev/pixi:noble", "2.39"),
        ("ghcr.io/prefix-dev/pixi:0.60.0-jammy-cuda-12.9.1", "2.35"),
        ("ghcr.io/prefix-dev/pixi:bookworm-slim@sha256:ab", "2.36"),
        ("ubuntu:24.04", "2.39"),
        ("docker.io/library/debian:trixie-slim", "2.41"),
        ("docker://nvidia/cuda:12.9.1-base-ubuntu22.04", "2.35"),
        ("centos:7", "2.17"),
        ("ghcr.io/prefix-dev/pixi:0.60.0", ""),
        ("registry.example.org/mine:1", ""),
    ],
)
def test_the_shipped_table_knows_the_c_library_of_common_images(image: str, glibc: str) -> None:
    assert known_glibc(SHIPPED, image) == glibc


def test_a_base_whose_c_library_is_too_old_is_refused_with_both_versions() -> None:
    with pytest.raises(DefinitionError, match=r"final-base is centos:7, whose C library is glibc 2\.17, .* glibc 2\.28"):
        check_glibc(SHIPPED, "centos:7", "2.28", "final-base")


@pytest.mark.parametrize("image", ["almalinux:8", "ubuntu:24.04", "registry.example.org/mine:1", ""])
def test_a_base_that_is_new_enough_or_not_known_passes(image: str) -> None:
    check_glibc(SHIPPED, image, "2.28", "final-base")


def test_the_project_s_own_table_wins(tmp_path: Path) -> None:
    (tmp_path / "defs").mkdir()
    (tmp_path / "defs/pixi_bases.toml").write_text('repository = "r.example.org/p"\nplain = "x"\n[cuda]\n"12.6" = "y"\n')
    bases = load_bases(tmp_path)
    assert choose_base(bases, "")[0] == "r.example.org/p:x"
    assert choose_base(bases, "12.8")[0] == "r.example.org/p:y"
    assert known_glibc(bases, "ubuntu:24.04") == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("repository = [\n", "is not valid TOML"),
        ('plain = "noble"\n', "repository is None"),
        ('repository = "r"\nplain = 3\n', "plain is 3"),
        ('repository = "r"\nplain = "p"\ncuda = 3\n', "cuda is 3"),
        ('repository = "r"\nplain = "p"\n[cuda]\nnewest = "x"\n', "cuda contains 'newest'"),
        ('repository = "r"\nplain = "p"\n[glibc]\n"*" = "new"\n', "glibc contains 'new'"),
    ],
)
def test_a_broken_table_says_where(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "defs").mkdir()
    (tmp_path / "defs/pixi_bases.toml").write_text(text)
    with pytest.raises(TemplateError, match=words):
        load_bases(tmp_path)
