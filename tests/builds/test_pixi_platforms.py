"""Platforms that promise virtual packages (Pixi 0.71 and later), from the manifest to the definition and the Dockerfile.

Variables: conda/rattler, ``crates/rattler_virtual_packages/src/lib.rs`` (main, 2026-08-22); ``pixi install --platform`` and
``pixi shell-hook --as-is``: prefix-dev/pixi 0.77, ``docs/reference/cli/pixi``. No pixi can be run here: the stand-in is.
"""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.config.files import load_project
from hpcdeploy.definition.grammar import read_definition
from hpcdeploy.errors import ConfigError, EnvironmentFileError
from hpcdeploy.flows.generate import dockerfile_of, generate
from hpcdeploy.flows.init import init
from hpcdeploy.image import Definition, ImageSettings
from hpcdeploy.source import PixiSource
from tests.environments.test_pixi_platforms import BARE, BOTH, CUDA, lock_of
from tests.environments.test_toml import MANIFEST as TOML_1_1

COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))
PLAIN = "ghcr.io/prefix-dev/pixi:noble"
ANY = PixiSource()
GPU = "ghcr.io/prefix-dev/pixi:noble-cuda-12.9.1"
DEFAULTS = ("__unix=0=0", "__linux=4.18", "__glibc=2.28", "__archspec=0=x86_64")


def project(folder: Path, manifest: str = BOTH, lock: str = lock_of({**BARE, **CUDA})) -> Path:
    (folder / "pixi.toml").write_text(manifest)
    (folder / "pixi.lock").write_text(lock)
    return folder


def image(folder: Path, source: PixiSource = ANY) -> Definition:
    return generate(ImageSettings(name="x", source=source), folder)


def steps(definition: Definition) -> list[str]:
    return [line.strip() for line in definition.text.splitlines() if line.strip().startswith(("pixi ", "export CONDA_OVER"))]


ONE = """\
[workspace]
platforms = ["linux-64", { name = "linux-64-cuda", platform = "linux-64", cuda = "12.9" }]
[feature.cpu]
platforms = ["linux-64"]
[environments]
default = ["cpu"]
"""


def test_a_feature_that_names_the_bare_platform_has_no_cuda(tmp_path: Path) -> None:
    folder = project(tmp_path, ONE, lock_of(BARE))
    definition = image(folder)
    assert definition.base == PLAIN
    assert "CUDA" not in definition.text.upper().replace("--NV", "")
    assert definition.notes == ()
    assert steps(definition) == [
        "pixi info",
        'pixi install --locked --environment "{{ ENVIRONMENT }}"',
        'pixi shell-hook --environment "{{ ENVIRONMENT }}" -s bash > "$private/hook"',
    ]
    text = init(folder).read_text()
    assert "gpus" not in text
    assert "CUDA" not in text
    assert load_project(folder, {}).images["default"].source == PixiSource()


@pytest.mark.parametrize(
    ("source", "base", "name", "cuda"),
    [
        (PixiSource(), PLAIN, "linux-64", []),
        (PixiSource(cuda=""), PLAIN, "linux-64", []),
        (PixiSource(platform="linux-64"), PLAIN, "linux-64", []),
        (PixiSource(cuda="12.9"), GPU, "linux-64-cuda", ['export CONDA_OVERRIDE_CUDA="{{ CUDA_VERSION }}"']),
        (PixiSource(platform="linux-64-cuda"), GPU, "linux-64-cuda", ['export CONDA_OVERRIDE_CUDA="{{ CUDA_VERSION }}"']),
    ],
)
def test_of_several_platforms_one_is_taken_named_to_pixi_and_said(
    tmp_path: Path, source: PixiSource, base: str, name: str, cuda: list[str]
) -> None:
    folder = project(tmp_path)
    definition = image(folder, source)
    assert definition.base == base
    assert steps(definition)[: len(cuda) + 3] == [
        *cuda,
        "pixi info",
        f'pixi install --locked --environment "{{{{ ENVIRONMENT }}}}" --platform "{name}"',
        'pixi shell-hook --environment "{{ ENVIRONMENT }}" --as-is -s bash > "$private/hook"',
    ]
    [note] = [note for note in definition.notes if note.startswith(f"the image is for the platform {name} (")]
    assert "p1" not in definition.text + "".join(definition.notes)
    dockerfile = dockerfile_of(ImageSettings(name="x", source=source), folder)
    assert f'pixi install --locked --environment "$ENVIRONMENT" --platform {name}\n' in dockerfile.dockerfile
    assert 'pixi shell-hook --environment "$ENVIRONMENT" --as-is -s bash >> entrypoint.sh' in dockerfile.dockerfile
    assert dockerfile.dockerfile.startswith("# syntax")
    assert f"FROM {base} AS build" in dockerfile.dockerfile
    assert note in dockerfile.notes


def test_a_builds_argument_chooses_too(tmp_path: Path) -> None:
    settings = ImageSettings(name="x", source=PixiSource())
    definition = generate(settings, project(tmp_path), build_args=(("CUDA_VERSION", "12.9"),))
    assert (definition.base, '--platform "linux-64-cuda"' in definition.text) == (GPU, True)


PROMISES = """\
[workspace]
platforms = [
  { name = "a100", platform = "linux-64", archspec = "x86_64_v3", glibc = "2.34", cuda = {
    driver = "12.9",
    arch = "8.0",
  } },
]
"""
ROW = {"p1": ("__cuda=12.9", "__cuda_arch=8.0", "__archspec=0=x86_64_v3", "__glibc=2.34", "__unix=0=0", "__linux=4.18")}


@pytest.mark.parametrize("lock", [lock_of({"linux-64": ()}, 6), lock_of(ROW)], ids=["6", "7"])
def test_what_a_platform_promises_is_said_to_pixi_in_the_build(tmp_path: Path, lock: str) -> None:
    folder = project(tmp_path, PROMISES, lock)
    definition = image(folder)
    exports = [
        'export CONDA_OVERRIDE_CUDA="{{ CUDA_VERSION }}"',
        'export CONDA_OVERRIDE_CUDA_ARCH="8.0"',
        'export CONDA_OVERRIDE_ARCHSPEC="x86_64_v3"',
        'export CONDA_OVERRIDE_GLIBC="2.34"',
    ]
    assert steps(definition)[:5] == [*exports, "pixi info"]
    _, final = read_definition(definition.text)
    assert "CUDA_ARCH" not in "".join(section.body for section in final.sections)
    assert "glibc 2.34 or newer" in definition.text
    dockerfile = dockerfile_of(ImageSettings(name="x", source=PixiSource()), folder).dockerfile
    lines = [line for line in dockerfile.splitlines() if not line.startswith("#")]
    first = lines.index("ENV CONDA_OVERRIDE_CUDA=$CUDA_VERSION")
    assert lines[first + 1 : first + 4] == [
        'ENV CONDA_OVERRIDE_CUDA_ARCH="8.0"',
        'ENV CONDA_OVERRIDE_ARCHSPEC="x86_64_v3"',
        'ENV CONDA_OVERRIDE_GLIBC="2.34"',
    ]
    assert lines[first + 4].startswith("RUN pixi install")
    without = image(folder, PixiSource(cuda=""))
    assert "CUDA" not in "".join(steps(without))


def test_inspect_shows_the_platform_and_what_is_set_for_pixi(tmp_path: Path) -> None:
    folder = project(tmp_path, BOTH.replace('cuda = "12.9"', 'cuda = { driver = "12.9", arch = "8.6" }'))
    row = {"p1": ("__cuda=12.9", "__cuda_arch=8.6", *DEFAULTS)}
    (folder / "pixi.lock").write_text(lock_of({**BARE, **row}))
    (folder / "hpcdeploy.toml").write_text('[image]\npixi = { platform = "linux-64-cuda" }\n')

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([COMMAND, "inspect", *words], cwd=folder, capture_output=True, text=True, check=True)

    [found] = json.loads(run("--json").stdout)
    assert (found["platform"], found["cuda"], found["base"]) == ("linux-64-cuda", "12.9", GPU)
    assert found["overrides"] == ["CONDA_OVERRIDE_CUDA=12.9", "CONDA_OVERRIDE_CUDA_ARCH=8.6"]
    assert found["environments"] == [["default", ["linux-64", "linux-64-cuda"]]]
    done = run()
    assert done.stdout.splitlines()[0].endswith("environment default, linux-64-cuda")
    assert "  set for pixi  CONDA_OVERRIDE_CUDA=12.9, CONDA_OVERRIDE_CUDA_ARCH=8.6\n" in done.stdout
    assert "the image is for the platform linux-64-cuda (CUDA 12.9)" in done.stderr
    alone = run("pixi.lock")
    assert alone.stdout.splitlines()[0] == "pixi.lock, environment default, linux-64"
    assert "linux-64 (CUDA 12.9, compute capability 8.6)" in alone.stdout
    assert "only the first is shown" in alone.stderr
    for said in (done, alone, run(".", "--against", "pixi.lock")):
        assert "p1" not in said.stdout + said.stderr


def test_init_names_the_platform_where_there_are_several(tmp_path: Path) -> None:
    manifest = BOTH.replace('"linux-64", {', "{").replace("}, ", '}, "linux-64", ')
    folder = project(tmp_path, manifest, lock_of({**CUDA, **BARE}))
    text = init(folder).read_text()
    assert 'pixi = { environment = "default", platform = "linux-64-cuda" }\n# Other platforms: linux-64\n' in text
    assert "gpus = 1" in text
    [settings] = load_project(folder, {}).images.values()
    assert generate(settings, folder).base == GPU


@pytest.mark.parametrize("value", ["linux 64", "x; rm", "", "9x", "x-"])
def test_a_setting_that_is_no_platforms_name_is_refused(tmp_path: Path, value: str) -> None:
    (tmp_path / "hpcdeploy.toml").write_text(f'[image]\npixi = {{ platform = "{value}" }}\n')
    with pytest.raises(ConfigError, match=r"pixi\.platform"):
        load_project(tmp_path, {})


@pytest.mark.parametrize("word", ["$(id)", "a b", '"', "x;y"])
def test_no_manifest_gets_a_word_into_the_shell(tmp_path: Path, word: str) -> None:
    quoted = json.dumps(word)
    manifest = f'[workspace]\nplatforms = [{{ name = "x", platform = "linux-64", archspec = {quoted} }}]\n'
    with pytest.raises(EnvironmentFileError, match=r"pixi\.toml: workspace\.platforms\.archspec has the microarchitecture"):
        image(project(tmp_path, manifest, lock_of({"linux-64": ()}, 6)))
    with pytest.raises(EnvironmentFileError, match="has the name"):
        image(project(tmp_path, manifest.replace('"x"', quoted)))


def test_a_token_in_a_channels_address_is_in_no_definition_label_or_listing(tmp_path: Path) -> None:
    secret = "s3cr3t"
    url = f"https://me:{secret}@conda.example.org/t/{secret}/private"
    manifest = BOTH.replace('"conda-forge"', f'"{url}"')
    package = f"{url}/linux-64/tool-1.0-0.conda"
    text = lock_of({**BARE, **CUDA}).replace("    channels: []\n", f"    channels:\n    - url: {url}/\n")
    text = text.replace("linux-64: []", f"linux-64:\n      - conda: {package}", 1).replace(
        "packages: []\n", f"packages:\n- conda: {package}\n  size: 1000\n"
    )
    folder = project(tmp_path, manifest, text)
    definition = image(folder)
    dockerfile = dockerfile_of(ImageSettings(name="x", source=PixiSource()), folder)
    (folder / "hpcdeploy.toml").write_text("[image]\n")
    told = [definition.text, *definition.notes, dockerfile.dockerfile, dockerfile.ignore, *dockerfile.notes]
    for words in ((), ("--json",), ("pixi.lock",), (".", "--against", "pixi.lock"), ("default", "--picture", "x.html")):
        done = subprocess.run([COMMAND, "inspect", *words], cwd=folder, capture_output=True, text=True, check=True)
        told += [done.stdout, done.stderr]
    told.append((folder / "x.html").read_text())
    (folder / "pixi.lock").write_text(text.partition("packages:\n- conda")[0])
    with pytest.raises(EnvironmentFileError) as caught:
        image(folder)
    told.append(str(caught.value))
    assert not [one for one in told if secret in one]
    assert [note for note in definition.notes if "pixi.toml has a password or token" in note]
    assert [note for note in definition.notes if "pixi.lock has a password or token" in note]


def test_a_lock_file_without_its_packages_is_told_before_anything_is_made(tmp_path: Path) -> None:
    folder = project(tmp_path, BOTH, lock_of(BARE))
    with pytest.raises(EnvironmentFileError, match=r"does not match .*linux-64-cuda \(CUDA 12.9\) in .* run 'pixi lock'"):
        image(folder)
    settings = ImageSettings(name="x", source=PixiSource(environment="cpu"))
    with pytest.raises(EnvironmentFileError, match="has no environment 'cpu'"):
        generate(replace(settings), folder)


def test_init_inspect_and_generate_take_a_manifest_of_toml_1_1(tmp_path: Path) -> None:
    project(tmp_path, TOML_1_1, lock_of({"linux-64": ()}, 6))
    for words in (("init",), ("inspect",), ("inspect", "pixi.toml"), ("generate",)):
        done = subprocess.run([COMMAND, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
