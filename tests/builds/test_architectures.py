"""Images of every source for both architectures: what changes for linux/arm64, and that nothing changes for linux/amd64."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.architecture import AMD64, ARM64, Architecture
from hpcdeploy.config.files import load_project
from hpcdeploy.errors import ConfigError, DefinitionError, EnvironmentFileError, HpcdeployError, RegistryError
from hpcdeploy.flows.freshness import settings_of
from hpcdeploy.flows.generate import dockerfile_of, generate
from hpcdeploy.flows.init import init
from hpcdeploy.flows.inspect.report import PublishedReport
from hpcdeploy.flows.inspect.target import inspect, inspect_settings
from hpcdeploy.flows.push import destinations
from hpcdeploy.image import ImageSettings
from hpcdeploy.source import DefinitionSource, DockerfileSource, OciConfig, OciSource, PixiSource, Source, SpackSource
from hpcdeploy.store import Store
from hpcdeploy.tags import GitFacts
from tests.builds.test_spack_source import lock as spack_lock
from tests.flows.test_image_archive import AMD, CONFIG, blobs, top, write
from tests.registry import containers as made

MANIFEST = """\
[workspace]
platforms = ["linux-64", "linux-aarch64", { name = "gh200", platform = "linux-aarch64", cuda = "12.9" }]
"""
SOURCES: dict[str, Source] = {
    "pixi": PixiSource(),
    "spack": SpackSource(environment="spack"),
    "oci": OciSource(reference="docker.io/library/python:3.12"),
    "dockerfile": DockerfileSource(),
    "definition": DefinitionSource(file="own.def"),
}
DOCKERFILE = (
    "FROM --platform=$TARGETPLATFORM base AS one\nARG TARGETARCH BUILDPLATFORM TARGETVARIANT\nRUN echo $TARGETARCH\n"
)
ARM_CONFIG = made.config({"Cmd": ["run"]}, architecture="arm64")
ARM = made.manifest(ARM_CONFIG, architecture="arm64")


def package(subdir: str) -> str:
    return f"https://conda.anaconda.org/conda-forge/{subdir}/python-3.12.1-{subdir.replace('-', '')}.conda"


ROWS = {
    "linux-64": ("linux-64", ()),
    "linux-aarch64": ("linux-aarch64", ()),
    "p1": ("linux-aarch64", ("__cuda=12.9", "__unix=0=0", "__linux=4.18", "__glibc=2.28", "__archspec=0=aarch64")),
}


def lock_of(rows: Mapping[str, tuple[str, tuple[str, ...]]]) -> str:
    """Return a lock file with one package, built for the subfolder of each platform; `rows` has subfolder and promises."""
    sizes = {"linux-64": 64_000_000, "linux-aarch64": 61_000_000}
    subdirs = dict.fromkeys(subdir for subdir, _ in rows.values())
    packages = {name: [{"conda": package(subdir)}] for name, (subdir, _) in rows.items()}
    return json.dumps(
        {
            "version": 7,
            "platforms": [
                {"name": name, "subdir": subdir, "virtual-packages": listed} for name, (subdir, listed) in rows.items()
            ],
            "environments": {"default": {"channels": [], "packages": packages}},
            "packages": [{"conda": package(subdir), "size": sizes[subdir]} for subdir in subdirs],
        }
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pixi.toml").write_text(MANIFEST)
    (tmp_path / "pixi.lock").write_text(lock_of(ROWS))
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "own.def").write_text("Bootstrap: docker\nFrom: debian:13\n")
    (tmp_path / "spack").mkdir()
    (tmp_path / "spack" / "spack.yaml").write_text("spack:\n  specs: [zlib]\n")
    return tmp_path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs.db")


def known(_reference: str) -> OciConfig:
    return OciConfig(digest=f"sha256:{'ab' * 32}", env=(("PATH", "/bin"),))


def image(kind: str, platform: Architecture | None = None) -> ImageSettings:
    return ImageSettings(name="x", source=SOURCES[kind], platform=platform)


@pytest.mark.parametrize("kind", SOURCES)
def test_the_platform_amd64_is_the_default_of_every_source(project: Path, kind: str) -> None:
    plain = generate(image(kind), project, image_config=known)
    named = generate(image(kind, AMD64), project, image_config=known)
    assert (named.text, named.inputs) == (plain.text, plain.inputs)
    assert "uname -m" not in plain.text
    assert "io.github.hpcdeploy.platform" not in plain.text
    assert named.architecture == AMD64
    assert plain.architecture == (None if kind == "definition" else AMD64)


@pytest.mark.parametrize("kind", SOURCES)
def test_an_image_for_arm64_has_other_inputs_and_names_its_platform(project: Path, kind: str) -> None:
    plain = generate(image(kind), project, image_config=known)
    arm = generate(image(kind, ARM64), project, image_config=known)
    assert arm.inputs != plain.inputs
    assert arm.architecture == ARM64
    if kind == "definition":
        assert arm.text == plain.text
    else:
        assert "    io.github.hpcdeploy.platform linux/arm64\n" in arm.text


@pytest.mark.parametrize("kind", ["pixi", "spack"])
def test_the_build_of_a_base_with_a_tag_checks_the_processor_first(project: Path, kind: str) -> None:
    text = generate(image(kind, ARM64), project).text
    steps = text[text.index("%post") :]
    assert '[ "$(uname -m)" = aarch64 ] ||' in steps
    assert steps.index("uname -m") < steps.index("fix_variables")


def test_pixi_takes_the_packages_and_platforms_of_the_architecture(project: Path) -> None:
    arm = generate(image("pixi", ARM64), project)
    assert 'pixi install --locked --environment "{{ ENVIRONMENT }}" --platform "linux-aarch64"' in arm.text
    named = replace(image("pixi", ARM64), source=PixiSource(platform="gh200"))
    gpu = generate(named, project)
    assert '--platform "gh200"' in gpu.text
    assert gpu.base == "ghcr.io/prefix-dev/pixi:noble-cuda-12.9.1"
    assert "--platform" not in generate(image("pixi"), project).text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ImageSettings(name="x", source=PixiSource(platform="gh200")),
            'is built for linux-64; .* platform = "linux-aarch64"',
        ),
        (
            ImageSettings(name="x", source=PixiSource(platform="linux-64"), platform=ARM64),
            'is for linux-64, but the image is built for linux-aarch64; .* platform = "linux-64"',
        ),
    ],
)
def test_the_platform_of_pixi_must_have_the_architecture_of_the_image(
    project: Path, settings: ImageSettings, message: str
) -> None:
    with pytest.raises(EnvironmentFileError, match=message):
        generate(settings, project)


@pytest.mark.parametrize("there", ["linux-64", "linux-aarch64"])
def test_a_workspace_without_the_architecture_names_the_setting(tmp_path: Path, there: str) -> None:
    (tmp_path / "pixi.toml").write_text(f'[workspace]\nplatforms = ["{there}"]\n')
    (tmp_path / "pixi.lock").write_text(lock_of({there: (there, ())}))
    wanted = ARM64 if there == AMD64.subdir else AMD64
    with pytest.raises(EnvironmentFileError, match=rf'does not support {wanted.subdir}.*platform = "{there}"'):
        generate(image("pixi", wanted), tmp_path)


@pytest.mark.parametrize("source", ["pixi", "spack"])
def test_the_dockerfile_of_an_environment_names_the_platform_of_both_stages(project: Path, source: str) -> None:
    lines = dockerfile_of(image(source, ARM64), project).dockerfile.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("FROM")] == ["--platform=linux/arm64"] * 2
    assert "--platform=" not in dockerfile_of(image(source), project).dockerfile


@pytest.mark.parametrize(("platform", "name"), [(None, "amd64"), (ARM64, "arm64")])
def test_a_dockerfile_gets_the_arguments_of_its_platform(project: Path, platform: Architecture | None, name: str) -> None:
    definition = generate(image("dockerfile", platform), project, image_config=known)
    assert f"TARGETARCH={name}" in definition.text
    assert f"BUILDPLATFORM=linux/{name}" in definition.text


def test_a_stage_for_another_platform_is_refused_and_names_the_setting(project: Path) -> None:
    (project / "Dockerfile").write_text("FROM --platform=linux/arm64/v8 base\n")
    assert generate(image("dockerfile", ARM64), project, image_config=known).architecture == ARM64
    with pytest.raises(DefinitionError, match=r'for linux/amd64 only \(the image\'s \'platform\' can be "linux-aarch64"\)'):
        generate(image("dockerfile"), project, image_config=known)


@pytest.mark.parametrize(("platform", "target"), [(None, "x86_64_v3"), (ARM64, "aarch64")])
def test_spack_compiles_for_the_family(project: Path, platform: Architecture | None, target: str) -> None:
    definition = generate(image("spack", platform), project)
    assert f"io.github.hpcdeploy.spack.target {target}\n" in definition.text


def test_the_locked_targets_must_have_the_architecture(project: Path) -> None:
    (project / "spack" / "spack.lock").write_text(spack_lock("zlib", target="neoverse_v2"))
    assert "spack.target neoverse_v2" in generate(image("spack", ARM64), project).text
    with pytest.raises(EnvironmentFileError, match=r'built for linux/amd64.*platform = "linux-aarch64"'):
        generate(image("spack"), project)


def test_only_targets_of_the_own_family_in_a_list_count(project: Path) -> None:
    text = "spack:\n  specs: [zlib]\n  packages:\n    all:\n      target: [neoverse_v2, zen4]\n"
    (project / "spack" / "spack.yaml").write_text(text)
    assert "spack.target neoverse_v2" in generate(image("spack", ARM64), project).text
    assert "spack.target zen4" in generate(image("spack"), project).text


@pytest.mark.parametrize(("platform", "manifest"), [(AMD64, AMD), (ARM64, ARM)])
def test_an_archive_with_several_platforms_is_read_for_the_images_own(
    tmp_path: Path, platform: Architecture, manifest: made.Document
) -> None:
    both = made.index(ARM, AMD)
    write(tmp_path / "a.tar", {**top(both), **blobs(both, manifest, CONFIG, ARM_CONFIG)})
    settings = ImageSettings(name="x", source=OciSource(reference="oci-archive:a.tar"), platform=platform)
    assert "run" in generate(settings, tmp_path).text


def test_an_archive_for_another_architecture_is_refused_although_it_was_read_before(tmp_path: Path) -> None:
    write(tmp_path / "a.tar", {**top(ARM), **blobs(ARM, ARM_CONFIG)})
    settings = ImageSettings(name="x", source=OciSource(reference="oci-archive:a.tar"), platform=ARM64)
    generate(settings, tmp_path)
    with pytest.raises(EnvironmentFileError, match="an image for linux/arm64; expected one for linux/amd64"):
        generate(replace(settings, platform=None), tmp_path)


def test_the_packages_and_sizes_of_the_architecture_are_listed(project: Path, store: Store) -> None:
    def sizes(settings: ImageSettings) -> list[int]:
        return [item.size or 0 for item in inspect_settings(settings, project, store).items]

    assert sizes(image("pixi")) == [64_000_000]
    assert sizes(image("pixi", ARM64)) == [61_000_000]
    assert inspect_settings(image("spack", ARM64), project, store).targets == ("aarch64",)


def test_a_lock_file_for_aarch64_alone_is_listed_without_settings(tmp_path: Path, store: Store) -> None:
    (tmp_path / "pixi.toml").write_text('[workspace]\nplatforms = ["linux-aarch64"]\n')
    (tmp_path / "pixi.lock").write_text(lock_of({"linux-aarch64": ("linux-aarch64", ())}))
    unused = load_project(tmp_path, {}, optional=True)
    for target in (str(tmp_path), str(tmp_path / "pixi.lock")):
        [report] = inspect(target, unused, store, _no_registry)
        assert getattr(report, "platform", "") == "linux-aarch64"


def _no_registry(_reference: str) -> PublishedReport:
    raise RegistryError("none")


def test_the_setting_counts_as_a_change_only_if_it_is_set() -> None:
    assert "platform" not in settings_of(image("pixi"))
    assert settings_of(image("pixi", AMD64))["platform"] != settings_of(image("pixi", ARM64))["platform"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *(
            (name, ARM64)
            for name in (
                "linux-aarch64",
                "linux/arm64",
                "arm64",
                "aarch64",
                "linux-arm64",
                "linux/aarch64",
                "linux/arm64/v8",
            )
        ),
        *((name, AMD64) for name in ("linux-64", "linux/amd64", "amd64", "x86_64", "linux-x86_64", "linux/amd64/v1")),
    ],
)
def test_every_usual_name_of_a_platform_is_read(tmp_path: Path, value: str, expected: Architecture) -> None:
    (tmp_path / "hpcdeploy.toml").write_text(f'[image]\nplatform = "{value}"\n')
    assert load_project(tmp_path, {}).images["default"].platform == expected


@pytest.mark.parametrize("source", ["pixi = {}", "spack = {}", 'oci = "x:1"', 'dockerfile = "D"', 'definition = "x.def"'])
def test_every_source_may_have_a_platform(tmp_path: Path, source: str) -> None:
    (tmp_path / "hpcdeploy.toml").write_text(f'[image]\nplatform = "linux/arm64"\n{source}\n')
    assert load_project(tmp_path, {}).images["default"].architecture == ARM64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'platform = "linux/riscv64"',
            r'image\.platform: found "linux/riscv64"; expected the platform of an image: "linux-64"',
        ),
        ("platform = 64", "image.platform: found 64"),
        ('platform = "linux-aarch64"\nspack = { target = "zen4" }', "spack.target has the microarchitecture 'zen4'"),
        ('spack = { target = "neoverse_v2" }', 'spack.target .*built for linux/amd64.* platform = "linux-aarch64"'),
    ],
)
def test_another_platform_is_one_message(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "hpcdeploy.toml").write_text(f"[image]\n{text}\n")
    with pytest.raises(ConfigError, match=message):
        load_project(tmp_path, {})


def test_a_target_of_the_family_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "hpcdeploy.toml").write_text('[image]\nplatform = "linux/arm64"\nspack = { target = "neoverse_v2" }\n')
    assert load_project(tmp_path, {}).images["default"].architecture == ARM64


def test_an_archspec_of_another_family_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pixi.toml").write_text(
        '[workspace]\nplatforms = [{ name = "odd", platform = "linux-aarch64", archspec = "zen4" }]\n'
    )
    (tmp_path / "pixi.lock").write_text(lock_of({"odd": ("linux-aarch64", ("__archspec=0=zen4",))}))
    with pytest.raises(HpcdeployError, match="zen4"):
        generate(image("pixi", ARM64), tmp_path)


PAGE = Path(__file__).parents[2] / "docs" / "aarch64.md"


@pytest.mark.parametrize("text", re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL))
def test_the_settings_of_the_page_are_accepted(tmp_path: Path, text: str) -> None:
    (tmp_path / "hpcdeploy.toml").write_text(text)
    found = load_project(tmp_path, {})
    assert any(one.architecture == ARM64 for one in found.images.values()) or all(
        one.platform for one in found.clusters.values()
    )


def test_images_for_both_architectures_share_a_repository_by_their_tags() -> None:
    arm = ImageSettings(name="train-arm64", source=PixiSource(), repositories=("ghcr.io/me/train",), platform=ARM64)
    amd = replace(arm, name="train", platform=None)
    git = GitFacts(sha="1" * 40, branch="main", default_branch="main", tag="v1.2.3")
    tags = [destinations(one, git, images=(amd, arm))["ghcr.io/me/train"] for one in (amd, arm)]
    assert {"train", "train-1.2.3"} <= set(tags[0])
    assert {"train-arm64", "train-arm64-1.2.3"} <= set(tags[1])
    assert not set(tags[0]) & set(tags[1])


@pytest.mark.parametrize(("platforms", "expected"), [('"linux-aarch64"', ARM64), ('"linux-aarch64", "linux-64"', None)])
def test_the_first_settings_name_the_platform_of_a_workspace_without_the_usual_one(
    tmp_path: Path, platforms: str, expected: Architecture | None
) -> None:
    (tmp_path / "pixi.toml").write_text(f"[workspace]\nplatforms = [{platforms}]\n")
    text = init(tmp_path).read_text()
    assert load_project(tmp_path, {}).images["default"].platform == expected, text
