"""What a Pixi workspace becomes: its base image, its own packages, and several images of one workspace."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.config.files import load_project
from hpcdeploy.definition.grammar import Stage, read_definition
from hpcdeploy.errors import DefinitionError, EnvironmentFileError
from hpcdeploy.flows.generate import generate
from hpcdeploy.image import Definition, ImageSettings
from hpcdeploy.source import PixiSource

WHEEL = "https://files.pythonhosted.org/packages/aa/onlylib-2.0.0-py3-none-any.whl"
SETTINGS = ImageSettings(name="train", source=PixiSource())
MANIFEST = """\
[workspace]
name = "demo"
platforms = ["linux-64"]
"""


GPU_NODES = """\
[workspace]
name = "demo"
platforms = [{ name = "gpu-nodes", platform = "linux-64", cuda = "13.0", glibc = "2.34" }]
"""

PAGE = Path(__file__).parent.parent.parent / "docs/pixi.md"


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def lock(*entries: str, version: int = 6, environments: tuple[str, ...] = ("default",)) -> str:
    """Write a lock file in which each environment holds `entries`: the lines of a package, the first its address."""
    text = f"version: {version}\n"
    platform = "linux-64"
    if version == 7:
        platform = "gpu-nodes"
        text += "platforms:\n- name: gpu-nodes\n  subdir: linux-64\n  virtual-packages:\n  - __cuda=13.0\n  - __glibc=2.34\n"
    text += "environments:\n"
    for name in environments:
        text += f"  {name}:\n    channels: []\n    packages:\n      {platform}:{'' if entries else ' []'}\n"
        text += "".join(f"      - {entry.splitlines()[0]}\n" for entry in entries)
    text += "packages:" + ("\n" if entries else " []\n")
    for entry in entries:
        first, *rest = entry.splitlines()
        text += f"- {first}\n" + "".join(f"  {line}\n" for line in rest)
    return text


def project(folder: Path, manifest: str, *entries: str, name: str = "pixi.toml") -> Path:
    return write(folder, {name: manifest, "pixi.lock": lock(*entries)})


def froms(definition: Definition) -> list[str]:
    return [stage.header["from"] for stage in read_definition(definition.text)]


def copies(stage: Stage) -> list[tuple[str, str]]:
    return [pair for section in stage.files for pair in section.pairs]


CUDA_MANIFESTS = {
    "system requirements": MANIFEST + '[system-requirements]\ncuda = "12.9"\n',
    "a feature's system requirements": MANIFEST
    + '[feature.gpu.system-requirements]\ncuda = "12.9"\n[environments]\ndefault = ["gpu"]\n',
    "a rich platform": '[workspace]\nname = "demo"\nplatforms = [{ platform = "linux-64", cuda = "12.9" }]\n',
    "a rich platform with driver and architecture": '[workspace]\nname = "demo"\n'
    'platforms = [{ name = "a100", platform = "linux-64", cuda = { driver = "12.9", arch = "8.0" } }]\n',
}


@pytest.mark.parametrize("manifest", CUDA_MANIFESTS.values(), ids=CUDA_MANIFESTS)
def test_the_base_is_chosen_by_the_cuda_version_wherever_the_manifest_says_it(tmp_path: Path, manifest: str) -> None:
    definition = generate(SETTINGS, project(tmp_path, manifest))
    assert froms(definition) == ["ghcr.io/prefix-dev/pixi:noble-cuda-12.9.1"] * 2
    assert definition.base == "ghcr.io/prefix-dev/pixi:noble-cuda-12.9.1"
    assert "no newer than the 12.9 that the environment asks" in definition.notes[0]
    assert 'CONDA_OVERRIDE_CUDA="{{ CUDA_VERSION }}"' in definition.text


def test_the_same_in_pyproject(tmp_path: Path) -> None:
    manifest = '[project]\nname = "demo"\n[tool.pixi.workspace]\nplatforms = ["linux-64"]\n'
    manifest += '[tool.pixi.system-requirements]\ncuda = "13.1"\n'
    definition = generate(SETTINGS, project(tmp_path, manifest, name="pyproject.toml"))
    assert froms(definition)[0] == "ghcr.io/prefix-dev/pixi:noble-cuda-13.0.0"
    assert ("workspace/pyproject.toml", "/app/pyproject.toml") in copies(read_definition(definition.text)[0])


def test_a_lock_file_of_version_7_says_cuda_and_glibc_itself(tmp_path: Path) -> None:
    folder = project(tmp_path, GPU_NODES)
    (folder / "pixi.lock").write_text(lock(version=7))
    definition = generate(SETTINGS, folder)
    assert froms(definition)[0] == "ghcr.io/prefix-dev/pixi:noble-cuda-13.0.0"
    assert "glibc 2.34 or newer" in definition.text
    with pytest.raises(DefinitionError, match=r"final-base is almalinux:8, .*glibc 2\.28, .*glibc 2\.34"):
        generate(replace(SETTINGS, final_base="almalinux:8"), folder)


def test_an_explicit_base_always_wins_and_nothing_is_said(tmp_path: Path) -> None:
    settings = replace(SETTINGS, base="ghcr.io/prefix-dev/pixi:jammy")
    definition = generate(settings, project(tmp_path, CUDA_MANIFESTS["system requirements"]))
    assert froms(definition) == ["ghcr.io/prefix-dev/pixi:jammy"] * 2
    assert definition.notes == ()


def test_the_settings_and_the_build_arguments_cuda_choose_the_base_too(tmp_path: Path) -> None:
    folder = project(tmp_path, CUDA_MANIFESTS["system requirements"])
    none = replace(SETTINGS, source=PixiSource(cuda=""))
    assert froms(generate(none, folder))[0] == "ghcr.io/prefix-dev/pixi:noble"
    given = generate(SETTINGS, folder, build_args=(("CUDA_VERSION", "13.0"),))
    assert froms(given)[0] == "ghcr.io/prefix-dev/pixi:noble-cuda-13.0.0"


def test_a_base_that_is_too_old_for_the_workspace_is_refused(tmp_path: Path) -> None:
    folder = project(tmp_path, MANIFEST + '[system-requirements]\nlibc = "2.36"\n')
    with pytest.raises(DefinitionError, match=r"base is ghcr\.io/prefix-dev/pixi:jammy, .*2\.35, .*2\.36"):
        generate(replace(SETTINGS, base="ghcr.io/prefix-dev/pixi:jammy"), folder)


def test_several_environments_of_one_workspace_are_several_images_of_one_lock(tmp_path: Path) -> None:
    manifest = CUDA_MANIFESTS["a feature's system requirements"].replace("default = ", "cpu = []\ngpu = ")
    folder = write(tmp_path, {"pixi.toml": manifest, "pixi.lock": lock(environments=("default", "cpu", "gpu"))})
    images = {
        name: generate(ImageSettings(name=name, source=PixiSource(environment=name)), folder) for name in ("cpu", "gpu")
    }
    assert {name: definition.base for name, definition in images.items()} == {
        "cpu": "ghcr.io/prefix-dev/pixi:noble",
        "gpu": "ghcr.io/prefix-dev/pixi:noble-cuda-12.9.1",
    }
    locks = {line for definition in images.values() for line in definition.text.splitlines() if "hpcdeploy.lock" in line}
    assert len(locks) == 1
    assert len({definition.inputs for definition in images.values()}) == 2


def test_pypi_packages_travel_in_the_lock_file_with_their_hashes(tmp_path: Path) -> None:
    folder = project(tmp_path, MANIFEST, f"pypi: {WHEEL}\nname: onlylib\nversion: 2.0.0\nsha256: {'ab' * 32}")
    definition = generate(SETTINGS, folder)
    assert "pixi install --locked" in definition.text
    [staged] = [file for file in definition.files if file.staged == "workspace/pixi.lock"]
    assert "sha256: abab" in staged.source.read_text()


PYPROJECT = """\
[project]
name = "mine"
version = "0.1.0"
[tool.pixi.workspace]
platforms = ["linux-64"]
[tool.pixi.pypi-dependencies]
Mine = { path = ".", editable = true }
inner-part = { path = "packages/inner" }
"""
OWN = ("pypi: ./\nname: mine", "pypi: ./packages/inner\nname: inner-part\nversion: 1.0.0")
SOURCE = {
    "pyproject.toml": PYPROJECT,
    "pixi.lock": lock(*OWN),
    "README.md": "",
    "src/mine/__init__.py": "",
    "packages/inner/pyproject.toml": "",
    "packages/inner/inner_part.py": "",
    "results/big.bin": "",
    ".env": "TOKEN=1",
    ".pixi/envs/default/x": "",
    "hpcdeploy.toml": "",
    "train.sif": "",
}
SHIPPED = [
    "source/app/README.md",
    "source/app/packages/inner/inner_part.py",
    "source/app/packages/inner/pyproject.toml",
    "source/app/pixi.lock",
    "source/app/pyproject.toml",
    "source/app/results/big.bin",
    "source/app/src/mine/__init__.py",
]


def shipped(definition: Definition) -> list[str]:
    return sorted(file.staged for file in definition.files if file.staged.startswith("source/"))


def test_an_editable_workspace_is_shipped_installed_and_kept(tmp_path: Path) -> None:
    definition = generate(SETTINGS, write(tmp_path, SOURCE))
    assert shipped(definition) == SHIPPED
    build, final = read_definition(definition.text)
    assert ("source/app", "/") in copies(build)
    assert copies(final) == [("/app", "/")]
    assert definition.notes == (
        "mine is built from its source in '.', which the image holds too, as it is editable",
        "inner-part is built from its source in 'packages/inner'; the image does not hold that source",
    )


@pytest.mark.parametrize("owner", [0, 12345], ids=["own", "another's"])
def test_what_git_ignores_is_not_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: int) -> None:
    folder = write(tmp_path, {**SOURCE, ".gitignore": "results/\n"})
    subprocess.run(["git", "init", "-q", folder], check=True)
    os.chown(folder, owner, owner)
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as in a git hook
    assert shipped(generate(SETTINGS, folder)) == sorted(
        ["source/app/.gitignore", *(name for name in SHIPPED if "results" not in name)]
    )


def test_a_package_that_is_not_editable_is_not_in_the_final_image(tmp_path: Path) -> None:
    manifest = PYPROJECT.replace(", editable = true", "")
    definition = generate(SETTINGS, write(tmp_path, {**SOURCE, "pyproject.toml": manifest}))
    build, final = read_definition(definition.text)
    assert ("source/app", "/") in copies(build)
    assert ("/app/.pixi/envs/{{ ENVIRONMENT }}",) * 2 in copies(final)
    assert not [pair for pair in copies(final) if pair[0] in ("/app", "/app/packages/inner")]


def test_a_change_of_the_source_is_another_image(tmp_path: Path) -> None:
    folder = write(tmp_path, SOURCE)
    before = generate(SETTINGS, folder).inputs
    (folder / "hpcdeploy.toml").write_text("# no part of the package\n")
    assert generate(SETTINGS, folder).inputs == before
    (folder / "src/mine/__init__.py").write_text("x = 1\n")
    assert generate(SETTINGS, folder).inputs != before


def test_old_lock_files_say_themselves_what_is_editable(tmp_path: Path) -> None:
    folder = project(tmp_path, MANIFEST, "pypi: ./lib\nname: lib\neditable: true")
    write(folder, {"lib/lib.py": ""})
    build, final = read_definition(generate(SETTINGS, folder).text)
    assert ("source/app/lib", "/app/") in copies(build)
    assert ("/app/lib", "/app/") in copies(final)


@pytest.mark.parametrize(
    "entry",
    [
        "conda: ./lib\nname: lib\nversion: 1.0.0",
        "conda: ./lib/lib-1.0-0.conda\nname: lib\nversion: '1.0'",
        "pypi: ./lib/lib-1.0-py3-none-any.whl\nname: lib\nversion: '1.0'",
    ],
    ids=["conda source", "conda file", "wheel"],
)
def test_conda_source_and_files_of_the_workspace_are_shipped_to_the_build_alone(tmp_path: Path, entry: str) -> None:
    folder = project(tmp_path, MANIFEST, entry)
    write(folder, {"lib/pixi.toml": "", "lib/lib-1.0-0.conda": "", "lib/lib-1.0-py3-none-any.whl": ""})
    definition = generate(SETTINGS, folder)
    place = entry.split()[1].removeprefix("./")
    build, final = read_definition(definition.text)
    assert [pair[0] for pair in copies(build)] == ["workspace/pixi.toml", "workspace/pixi.lock", f"source/app/{place}"]
    assert not [pair for pair in copies(final) if "lib" in pair[0]]


def test_a_source_that_version_7_names_by_its_hash_is_shipped(tmp_path: Path) -> None:
    folder = project(tmp_path, GPU_NODES)
    write(folder, {"lib/pixi.toml": "", "pixi.lock": lock("source: lib[9f8e7d6c] @ ./lib\nversion: 1.0.0", version=7)})
    assert shipped(generate(SETTINGS, folder)) == ["source/app/lib/pixi.toml"]


@pytest.mark.parametrize("url", ["../lib", "/home/me/lib", "file:///home/me/lib", "./a/../../lib"])
def test_a_source_outside_the_workspace_is_refused(tmp_path: Path, url: str) -> None:
    folder = project(tmp_path, MANIFEST, f"pypi: {url}\nname: lib")
    with pytest.raises(EnvironmentFileError, match=r"installs 'lib' from .*, which lies outside the workspace"):
        generate(SETTINGS, folder)


def test_a_link_out_of_the_project_is_refused(tmp_path: Path) -> None:
    folder = project(tmp_path, MANIFEST, "pypi: ./lib\nname: lib")
    (folder / "lib").mkdir()
    (folder / "lib/hosts").symlink_to("/etc/hostname")
    with pytest.raises(DefinitionError, match=r"the source of the package 'lib' leads to .* outside the project"):
        generate(SETTINGS, folder)


def test_a_source_without_a_file_is_refused(tmp_path: Path) -> None:
    folder = project(tmp_path, MANIFEST, "pypi: ./lib\nname: lib")
    (folder / "lib").mkdir()
    with pytest.raises(DefinitionError, match=r"'lib'.* there is no file"):
        generate(SETTINGS, folder)


@pytest.mark.parametrize("url", ["git+https://github.com/me/lib@0123456789abcdef", WHEEL])
def test_what_comes_from_elsewhere_needs_no_source(tmp_path: Path, url: str) -> None:
    definition = generate(SETTINGS, project(tmp_path, MANIFEST, f"pypi: {url}\nname: lib"))
    assert shipped(definition) == []
    assert definition.notes == ()


@pytest.mark.parametrize("part", ["build", "final"])
def test_the_library_path_is_left_to_nv(tmp_path: Path, part: str) -> None:
    text = generate(SETTINGS, project(tmp_path, CUDA_MANIFESTS["system requirements"])).text
    stage = next(stage for stage in read_definition(text) if stage.header["stage"] == part)
    assert not [section for section in stage.sections if "LD_LIBRARY_PATH" in section.body]
    assert "nvidia-smi" not in text


def test_the_source_of_another_environments_package_is_there_for_the_build_to_look_at(tmp_path: Path) -> None:
    manifest = MANIFEST + '[feature.dev.pypi-dependencies]\nlib = { path = "lib", editable = true }\n'
    manifest += '[environments]\ndefault = ["dev"]\nprod = []\n'
    folder = project(tmp_path, manifest, "pypi: ./lib\nname: lib", "pypi: ../beside\nname: beside")
    text = (folder / "pixi.lock").read_text().partition("packages:\n- ")
    prod = "  prod:\n    channels: []\n    packages:\n      linux-64: []\n"
    write(folder, {"lib/lib.py": "", "pixi.lock": f"{text[0]}{prod}{text[1]}{text[2]}"})
    definition = generate(ImageSettings(name="prod", source=PixiSource(environment="prod")), folder)
    assert shipped(definition) == ["source/app/lib/lib.py"]
    assert definition.notes == ()
    assert "/app/lib" not in [pair[0] for pair in copies(read_definition(definition.text)[1])]


def test_pixis_own_settings_of_the_workspace_come_along(tmp_path: Path) -> None:
    folder = write(project(tmp_path, MANIFEST), {".pixi/config.toml": "[mirrors]\n", ".pixi/envs/default/x": ""})
    definition = generate(SETTINGS, folder)
    assert [file.staged for file in definition.files] == [
        "workspace/pixi.toml",
        "workspace/pixi.lock",
        "workspace/.pixi/config.toml",
    ]
    assert ("workspace/.pixi/config.toml", "/app/.pixi/config.toml") in copies(read_definition(definition.text)[0])


OLD = f"""\
version: 5
environments:
  default:
    channels:
    - url: https://conda.anaconda.org/conda-forge/
    packages:
      linux-64:
      - conda: https://conda.anaconda.org/conda-forge/noarch/tool-1.0-0.conda
      - pypi: lib
      osx-arm64: []
  prod:
    channels:
    - url: https://conda.anaconda.org/conda-forge/
    packages:
      linux-64:
      - conda: https://conda.anaconda.org/conda-forge/noarch/tool-1.0-0.conda
      osx-arm64: []
packages:
- kind: conda
  name: tool
  version: '1.0'
  build: '0'
  subdir: noarch
  url: https://conda.anaconda.org/conda-forge/noarch/tool-1.0-0.conda
  sha256: {"ab" * 32}
- kind: pypi
  name: lib
  version: 0.1.0
  path: lib
  sha256: {"cd" * 32}
  editable: true
"""


@pytest.mark.parametrize(("environment", "editable"), [("default", True), ("prod", False)])
def test_an_old_workspace_with_a_project_table_and_a_lock_file_of_version_5(
    tmp_path: Path, environment: str, editable: bool
) -> None:
    manifest = '[project]\nname = "old"\nchannels = ["conda-forge"]\nplatforms = ["osx-arm64", "linux-64"]\n'
    manifest += '[tasks]\nserve = """\nRscript -e "serve()"\n"""\n[feature.dev.pypi-dependencies]\nlib = { path = "lib" }\n'
    manifest += '[environments]\ndefault = { features = ["dev"], solve-group = "prod" }\n'
    manifest += 'prod = { features = [], solve-group = "prod" }\n'
    folder = write(tmp_path, {"pixi.toml": manifest, "pixi.lock": OLD, "lib/lib.py": ""})
    definition = generate(ImageSettings(name="old", source=PixiSource(environment=environment)), folder)
    assert definition.base == "ghcr.io/prefix-dev/pixi:noble"
    assert (("/app/lib", "/app/") in copies(read_definition(definition.text)[1])) == editable


def test_the_settings_on_the_page_about_pixi_become_images(tmp_path: Path) -> None:
    settings = PAGE.read_text().partition("```toml\n")[2].partition("```")[0]
    manifest = CUDA_MANIFESTS["a feature's system requirements"].replace("default = ", "serve = []\ngpu = ")
    lock_file = lock(environments=("default", "serve", "gpu"))
    folder = write(
        tmp_path, {"pixi.toml": manifest, "pixi.lock": lock_file, "hpcdeploy.toml": settings, "app/train.py": "pass\n"}
    )
    images = load_project(folder, {}).images
    definitions = {name: generate(image, folder) for name, image in images.items()}
    assert {name: definition.base for name, definition in definitions.items()} == {
        "train": "ghcr.io/prefix-dev/pixi:noble-cuda-12.9.1",
        "serve": "debian:bookworm-slim",
    }
    assert [file.staged for file in definitions["serve"].files] == ["workspace/pixi.toml", "workspace/pixi.lock"]


def test_a_name_that_is_no_utf_8_is_shipped_too(tmp_path: Path) -> None:
    folder = write(tmp_path, SOURCE)
    name = os.fsdecode(b"latin-\xe9")
    (folder / name).write_text("x")
    subprocess.run(["git", "init", "-q", folder], check=True)
    assert f"source/app/{name}" in shipped(generate(SETTINGS, folder))
