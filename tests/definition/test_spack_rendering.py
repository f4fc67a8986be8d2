"""Definitions of Spack environments: the golden files, what every one of them keeps, and what their shells say."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy import __version__
from hpcdeploy.definition.grammar import SECTION_LIMIT, TEMPLATE, Stage, read_definition, substitute
from hpcdeploy.definition.spack import SpackRecipe, bases, module_name, render_spack, spack_system
from hpcdeploy.environments.spack_container import SYSTEMS, Container
from hpcdeploy.errors import DefinitionError
from hpcdeploy.image import ImageSettings
from hpcdeploy.source import SpackSource, User
from tests.definition.sections import check_with_shellcheck
from tests.definition.spack_samples import BARE, CONTAINER, MINIMAL, RECIPES, SYSTEM, VIEWS, WHOLE
from tests.definition.test_rendering import GOLDEN
from tests.golden import check_golden

every_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)


def stages(recipe: SpackRecipe) -> tuple[Stage, ...]:
    return read_definition(substitute(render_spack(recipe), {}))


def post(recipe: SpackRecipe, number: int) -> str:
    return stages(recipe)[number].section("post")


@every_recipe
def test_the_definition_is_the_golden_one(recipe: SpackRecipe) -> None:
    golden = GOLDEN / f"{recipe.settings.name}.def"
    text = render_spack(recipe).replace(__version__, "VERSION")
    check_golden(golden, text)


@every_recipe
def test_both_stages_are_named_stop_at_the_first_failure_and_stay_small(recipe: SpackRecipe) -> None:
    both = stages(recipe)
    assert [stage.header["stage"] for stage in both] == ["build", "final"]
    for stage in both:
        section = next(section for section in stage.sections if section.name == "post")
        assert section.words == "-c /bin/bash"
        assert section.body.splitlines()[0].strip() == "set -euo pipefail"
        assert all(len(section.body.encode()) < SECTION_LIMIT // 4 for section in stage.sections)


@every_recipe
def test_the_final_stage_takes_environment_software_and_view_and_calls_no_spack(recipe: SpackRecipe) -> None:
    final = stages(recipe)[-1]
    taken = next(copies.pairs for copies in final.files if copies.words == "from build")
    held = {"spack-views": ["/opt/._view", "/opt/._tools", "/srv/my views/._all"], "spack-bare": []}
    views = held.get(recipe.settings.name, ["/opt/._view"])
    assert [source for source, _ in taken] == ["/opt/spack-environment", "/opt/software", *views]
    assert all(source == destination for source, destination in taken)
    assert ('ln -sfn "$(cat /opt/spack-environment/.view)" /opt/view' in final.section("post")) == bool(views)
    assert not re.search(r"^\s*(spack|configured) ", final.section("post"), re.MULTILINE)


@every_recipe
def test_nothing_is_put_where_the_host_s_folders_are_mounted(recipe: SpackRecipe) -> None:
    for stage in stages(recipe):
        for copies in stage.files:
            assert not [place for _, place in copies.pairs if place.startswith(("/tmp", "/var/tmp", "/root", "/home"))]
        assert "/tmp/" not in stage.section("post")


@every_recipe
def test_no_template_is_left_behind_a_number_sign(recipe: SpackRecipe) -> None:
    for line in render_spack(recipe).splitlines():
        for match in TEMPLATE.finditer(line):
            assert "#" not in line[: match.start()], line


@every_recipe
def test_shellcheck_finds_nothing_in_any_section(recipe: SpackRecipe) -> None:
    assert check_with_shellcheck(stages(recipe)) == 6


def test_the_environment_may_lie_deeper_and_is_told_to_spack_and_to_the_test() -> None:
    place = "$'/opt/spack-environment/stacks/gpu nodes'"
    assert f"cd {place}\n" in post(VIEWS, 0)
    assert f'spack "${{options[@]}}" -e {place} "$@"' in post(VIEWS, 0)
    assert f'if [ "$SPACK_ENV" != {place} ]' in stages(VIEWS)[1].section("test")


def test_an_image_without_a_view_is_stripped_and_tested_without_one() -> None:
    assert "find /opt/software -type f || true;" in post(BARE, 0)
    assert "view" not in stages(BARE)[1].section("test")
    assert "it has no view" in render_spack(BARE)


def test_without_a_lock_file_the_build_concretizes_and_with_one_only_installs() -> None:
    assert "configured concretize\n    configured install --fail-fast\n" in post(MINIMAL, 0)
    assert "concretize" not in post(WHOLE, 0)
    assert "configured install --fail-fast --only-concrete -j 4\n" in post(WHOLE, 0)


def test_the_secrets_are_there_for_the_install_and_the_push_and_gone_after() -> None:
    inside = post(WHOLE, 0).partition("\n    (\n")[2].partition("\n    )\n")[0]
    calls = [line.split()[1] for line in inside.splitlines() if line.strip().startswith("configured")]
    assert calls == ["install", "buildcache"]
    assert "configured buildcache push --update-index my-cache\n" in inside
    for name in ("CACHE_USER", "CACHE_TOKEN"):  # one of them is a file, which Spack cannot be told of
        assert inside.index(f"export {name}") < inside.index("configured install")
    assert "CACHE" not in post(WHOLE, 1) + post(MINIMAL, 0)


def test_a_secret_that_nobody_described_is_refused() -> None:
    with pytest.raises(DefinitionError, match="uses the secret 'CACHE_USER', which 'secrets' does not define"):
        render_spack(replace(WHOLE, settings=replace(WHOLE.settings, secrets=())))


def test_system_packages_come_by_the_named_manager_or_by_the_one_that_is_there() -> None:
    assert "manager=apt\n" in post(CONTAINER, 0)
    assert "apt-get -qy install git libfoo++\n" in post(CONTAINER, 0)
    assert "apt-get -qy install libgomp1\n" in post(CONTAINER, 1)
    assert "for manager in apt dnf" in post(SYSTEM, 0)
    assert "apt-get -q update" not in post(SYSTEM, 0)


def test_labels_of_the_settings_win_over_those_of_spack_yaml() -> None:
    text = post(CONTAINER, 1)
    assert "app mine" in text
    assert "app theirs" not in text
    assert "site a b" in text


def test_the_container_s_own_test_runs_in_the_image_s_test() -> None:
    assert "demo --version\n" in stages(CONTAINER)[-1].section("test")


def test_the_check_runs_before_every_command_and_in_the_test() -> None:
    final = stages(WHOLE)[-1]
    for name in ("runscript", "startscript"):
        assert final.section(name).splitlines()[1] == "/opt/environment-check || exit"
    assert "\n/opt/environment-check\n" in final.section("test")
    assert "environment-check" not in render_spack(MINIMAL)


@pytest.mark.parametrize(
    ("base", "final_base", "container", "expected"),
    [
        ("", "", None, ("docker.io/spack/ubuntu-noble:1.2.2", "docker.io/ubuntu:24.04")),
        ("spack/rockylinux9:1.1.0", "", None, ("spack/rockylinux9:1.1.0", "docker.io/rockylinux:9")),
        ("", "", Container(build="b:1", final="f:1"), ("b:1", "f:1")),
        ("own:1", "", Container(build="b:1", final="f:1"), ("own:1", "f:1")),
        ("own:1", "plain:1", Container(build="b:1", final="f:1"), ("own:1", "plain:1")),
        ("localhost:5000/own:1", "", None, ("localhost:5000/own:1", "docker.io/ubuntu:24.04")),
    ],
)
def test_the_settings_choose_the_images_then_spack_yaml_then_the_default(
    base: str, final_base: str, container: Container | None, expected: tuple[str, str]
) -> None:
    settings = ImageSettings(name="x", source=SpackSource(), base=base, final_base=final_base)
    assert bases(settings, container) == expected


def test_spack_s_own_images_are_known_by_any_tag_or_digest() -> None:
    for name in ("docker.io/spack/ubuntu-noble:nightly", "spack/ubuntu-noble@sha256:12", "docker://spack/ubuntu-noble:1"):
        assert spack_system(name) == SYSTEMS["ubuntu:24.04"]
    assert spack_system("registry.example.org/spack/ubuntu-noble:1") is None


@pytest.mark.parametrize(
    ("package", "module"), [("zlib", "zlib"), ("py-py-spy", "py_py_spy"), ("3dtk", "_3dtk"), ("pass", "_pass")]
)
def test_a_recipe_s_folder_is_a_name_of_python(package: str, module: str) -> None:
    assert module_name(package) == module


def test_a_user_s_home_must_be_the_image_s_own() -> None:
    source = replace(WHOLE.source, user=User(name="pdi", home="/tmp/pdi"))
    with pytest.raises(DefinitionError, match="which belongs to the host"):
        render_spack(replace(WHOLE, source=source))


def test_a_template_of_the_project_wins(tmp_path: Path) -> None:
    (tmp_path / "defs").mkdir()
    (tmp_path / "defs/spack.def").write_text("Bootstrap: docker\nFrom: [= final.source =]\nStage: final\n%post\ntrue\n")
    assert render_spack(WHOLE, overrides=tmp_path).splitlines()[1] == "From: docker.io/gcc:15"


def programs(folder: Path, *names: str) -> Path:
    """Make programs that write down how they were called: what a machine must not really do for a test."""
    folder.mkdir()
    for name in names:
        (folder / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {folder}/called\n')
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ("apt-get", ["apt-get -qy install git", "rm -rf /var/lib/apt/lists/*"]),
        ("dnf", ["dnf -y install git", "dnf clean all"]),
        ("zypper", ["zypper --non-interactive install git", "zypper clean --all"]),
        ("apk", ["apk add --no-cache git"]),
    ],
)
def test_the_package_manager_that_is_there_installs(tmp_path: Path, there: str, expected: list[str]) -> None:
    folder = programs(tmp_path / "bin", there, "rm")
    lines = "    (\n" + post(SYSTEM, 0).partition("\n    (\n")[2].partition("\n    )\n")[0] + "\n    )\n"
    subprocess.run(["/bin/bash", "-feuc", lines], env={"PATH": str(folder)}, check=True)
    assert (folder / "called").read_text().splitlines() == expected


def test_a_base_image_without_a_package_manager_is_said(tmp_path: Path) -> None:
    lines = post(SYSTEM, 0).partition("\n    (\n")[2].partition("\n    )\n")[0]
    done = subprocess.run(
        ["/bin/bash", "-euc", lines], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "none of the supported package managers" in done.stderr


def test_what_is_linked_into_the_view_is_stripped_where_it_is_a_program(tmp_path: Path) -> None:
    folder = programs(tmp_path / "bin", "strip")
    (folder / "file").write_text("#!/bin/sh\ncase $3 in *.sh) echo text/x-sh ;; *) echo application/x-sharedlib ;; esac\n")
    (folder / "file").chmod(0o755)
    (tmp_path / "software").mkdir()
    (tmp_path / "view").mkdir()
    for name in ("libdemo.so", "run.sh", "a name"):
        (tmp_path / "software" / name).write_text("")
        (tmp_path / "view" / name).symlink_to(tmp_path / "software" / name)
    block = post(CONTAINER, 0).partition("    if command -v file")[2].partition("\n    fi\n")[0]
    lines = f"if command -v file{block}\nfi\n".replace("/opt/view", str(tmp_path / "view"))
    subprocess.run(["bash", "-euo", "pipefail", "-c", lines], env={"PATH": f"{folder}:/usr/bin:/bin"}, check=True)
    called = (folder / "called").read_text().splitlines()
    assert called == [f"strip {tmp_path}/software/a name", f"strip {tmp_path}/software/libdemo.so"]


def test_without_the_programs_nothing_is_stripped_and_that_is_said(tmp_path: Path) -> None:
    block = post(CONTAINER, 0).partition("    if command -v file")[2].partition("\n    fi\n")[0]
    done = subprocess.run(
        ["/bin/bash", "-euc", f"if command -v file{block}\nfi\n"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "nothing is stripped" in done.stderr


def user_lines(folder: Path) -> str:
    """Return the lines that make the user, for files in a folder."""
    text = post(WHOLE, 1).partition("    if ! grep -q '^pdi:' /etc/group")[2].partition("    mkdir -p /opt/pdi")[0]
    return f"if ! grep -q '^pdi:' /etc/group{text}".replace("/etc/", f"{folder}/")


@pytest.mark.parametrize(
    ("groups", "users", "expected"),
    [
        ("root:x:0:\n", "root:x:0:0::/root:/bin/sh\n", "pdi:*:1001:1001::/opt/pdi:/bin/false"),
        ("old:x:1001:\n", "old:x:1001:1001::/:/bin/sh\n", "pdi:*:1001:1001::/opt/pdi:/bin/false"),
        ("pdi:x:500:\n", "root:x:0:0::/root:/bin/sh\n", "pdi:*:1001:500::/opt/pdi:/bin/false"),
    ],
    ids=["a new one", "ids that are taken", "a group of that name"],
)
def test_a_user_is_made_whatever_the_base_image_has(tmp_path: Path, groups: str, users: str, expected: str) -> None:
    (tmp_path / "group").write_text(groups)
    (tmp_path / "passwd").write_text(users)
    subprocess.run(["bash", "-euo", "pipefail", "-c", user_lines(tmp_path)], check=True)
    assert (tmp_path / "passwd").read_text() == f"{users}{expected}\n"
    assert sum(line.startswith("pdi:") for line in (tmp_path / "group").read_text().splitlines()) == 1


def test_a_user_of_that_name_and_another_id_is_refused(tmp_path: Path) -> None:
    (tmp_path / "group").write_text("pdi:x:1:\n")
    (tmp_path / "passwd").write_text("pdi:x:1:1::/:/bin/sh\n")
    script = f"id() {{ echo 1; }}\n{user_lines(tmp_path)}"
    done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the user pdi has the id 1; expected 1001" in done.stderr
