"""What a Spack environment becomes: its files, its repositories and recipes, its caches, and what is said aloud."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hpcdeploy.architecture import of_machine
from hpcdeploy.definition.grammar import SECTION_LIMIT, read_definition
from hpcdeploy.errors import DefinitionError, EnvironmentFileError
from hpcdeploy.flows.generate import generate
from hpcdeploy.image import Definition, ImageSettings, Secret
from hpcdeploy.source import SpackSource

SPECS = "spack:\n  specs: [zlib]\n"
CACHE = """\
spack:
  specs: [zlib]
  mirrors:
    cache:
      url: oci://ghcr.io/me/cache
      access_pair: {id_variable: CACHE_USER, secret_variable: CACHE_TOKEN}
"""
SECRETS = (Secret(name="CACHE_USER", env="USER_HERE"), Secret(name="CACHE_TOKEN", env="TOKEN_HERE"))
NAMES = ("CACHE_USER", "CACHE_TOKEN")


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def make(
    folder: Path, files: Mapping[str, str], *, described: tuple[Secret, ...] = (), base: str = "", **words: Any
) -> Definition:
    source = SpackSource(**words)
    return generate(ImageSettings(name="x", source=source, secrets=described, base=base), write(folder, files))


def lock(*names: str, target: str = "zen3", namespace: str = "builtin") -> str:
    return json.dumps(
        {
            "_meta": {"lockfile-version": 6},
            "roots": [{"hash": name, "spec": f"{name}@1"} for name in names],
            "concrete_specs": {name: {"name": name, "namespace": namespace, "arch": {"target": target}} for name in names},
        }
    )


def staged(definition: Definition) -> list[str]:
    return [file.staged.removeprefix("image/opt/") for file in definition.files]


def build_post(definition: Definition) -> str:
    return read_definition(definition.text)[0].section("post")


def test_an_environment_without_a_lock_file_says_that_the_build_chooses(tmp_path: Path) -> None:
    definition = make(tmp_path, {"spack.yaml": SPECS})
    assert staged(definition) == ["spack-environment/spack.yaml"]
    assert "all packages are compiled for x86_64_v3 (the default: nothing names a target)" in definition.notes[0]
    assert "there is no spack.lock" in definition.notes[1]
    assert len(definition.notes) == 2
    assert "configured concretize" in build_post(definition)
    assert definition.base == "docker.io/ubuntu:24.04"


@pytest.mark.parametrize("target", ["aarch64", "x86_64"])
def test_packages_for_the_whole_family_run_on_every_processor_of_it(tmp_path: Path, target: str) -> None:
    write(tmp_path, {"spack.yaml": SPECS})
    settings = ImageSettings(name="x", source=SpackSource(target=target), platform=of_machine(target))
    note = generate(settings, tmp_path).notes[0]
    assert note.endswith(f"which every {target} processor runs; programs may be faster with a newer target")


def test_a_lock_file_of_a_mac_is_refused(tmp_path: Path) -> None:
    text = lock("zlib", target="m1")
    write(tmp_path, {"spack.yaml": SPECS, "spack.lock": text.replace('"arch": {', '"arch": {"platform": "darwin", ')})
    settings = ImageSettings(name="x", source=SpackSource(), platform=of_machine("aarch64"))
    with pytest.raises(EnvironmentFileError, match=r"spack\.lock is for darwin, but an image needs packages for linux; run"):
        generate(settings, tmp_path)
    for platform in ("linux", "cray"):
        (tmp_path / "spack.lock").write_text(text.replace('"arch": {', f'"arch": {{"platform": "{platform}", '))
        assert generate(settings, tmp_path).files


def test_a_lock_file_goes_along_and_nothing_is_chosen_again(tmp_path: Path) -> None:
    definition = make(tmp_path, {"spack.yaml": SPECS, "spack.lock": lock("zlib")})
    assert staged(definition) == ["spack-environment/spack.yaml", "spack-environment/spack.lock"]
    assert definition.notes == (
        "all packages are compiled for zen3 (spack.lock); these packages do not run on older processors",
    )
    assert "concretize" not in build_post(definition)
    assert "target=" not in build_post(definition)
    assert "io.github.hpcdeploy.spack.target zen3" in definition.text


def test_a_lock_file_that_lacks_a_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFileError, match=r"does not lock hdf5, which .* requires; run 'spack concretize'"):
        make(tmp_path, {"spack.yaml": "spack: {specs: [zlib, hdf5@1.10]}", "spack.lock": lock("zlib")})


def test_a_folder_without_an_environment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFileError, match=r"spack\.yaml is missing"):
        make(tmp_path, {"envs/gpu/spack.yaml": SPECS}, environment="envs")


def test_included_files_lie_beside_the_environment_as_they_do_here(tmp_path: Path) -> None:
    files = {
        "envs/gpu/spack.yaml": "spack:\n  include: [own.yaml, ../configs, {path: gone.yaml, optional: true}]\n",
        "envs/gpu/own.yaml": "include: [more/deep.yaml]\n",
        "envs/gpu/more/deep.yaml": "packages: {all: {require: [target=zen4]}}\n",
        "envs/configs/mirrors.yaml": "mirrors: {cache: {url: https://example.org, signed: false}}\n",
        "envs/configs/config.yaml": "config: {}\n",
        "envs/unrelated.yaml": "x: 1\n",
    }
    definition = make(tmp_path, files, environment="envs/gpu", push_cache="cache")
    assert sorted(staged(definition)) == [
        "configs/config.yaml",
        "configs/mirrors.yaml",
        "spack-environment/more/deep.yaml",
        "spack-environment/own.yaml",
        "spack-environment/spack.yaml",
    ]
    assert "all packages are compiled for zen4 (spack.yaml: packages.all.require)" in definition.notes[0]
    assert ("image/opt/configs", "/opt/") in read_definition(definition.text)[0].files[0].pairs


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("include: [missing.yaml]", r"include names 'missing.yaml', but .* does not exist"),
        ("include: ['$env/.']", "which contains the environment itself"),
        ("repos: ['../..']", "which contains the environment itself"),
        ("include: [../../../far.yaml]", "outside of the project .*: above it only files in the same git work tree"),
        ("include_concrete: [../spack]", "another environment, but .*/spack.yaml is missing"),
        ("repos: [../repo]", "repos names '../repo', but .* does not exist"),
        ("develop: {mine: {spec: mine@main}}", "develop names 'mine', but .* does not exist"),
        ("include: [../other/spack.lock]", r"spack.yaml: include names '../other/spack.lock', but .* does not exist"),
        ("include: ['no/$os/x.yaml']", r"spack.yaml: include names 'no/\$os/x.yaml', but .*/no does not exist"),
        ("include: [../spack/x.yaml]", r"/a/spack/x.yaml: repos names 'gone', but .*/a/spack/gone does not exist"),
        ("repos: [../empty]", r"spack.yaml: repos names 'a/empty', which contains no file to copy"),
    ],
)
def test_a_file_that_cannot_come_along_is_refused_with_the_reason(tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "far.yaml").write_text("")
    files = {"a/b/spack.yaml": f"spack:\n  {line}\n", "a/spack/x.yaml": "repos: [gone]\n"}
    (tmp_path / "project/a/empty").mkdir(parents=True)
    with pytest.raises((EnvironmentFileError, DefinitionError), match=words):
        make(tmp_path / "project", files, environment="a/b")


def test_large_files_are_copied_and_never_written_into_the_definition(tmp_path: Path) -> None:
    large = "".join(f"# {number}\n" for number in range(30_000))
    definition = make(
        tmp_path, {"spack.yaml": SPECS + "  include: [big.yaml]\n" + large, "big.yaml": "packages: {}\n" + large}
    )
    assert len(definition.text) < SECTION_LIMIT // 4


def test_a_repository_lies_where_its_namespace_wants_it(tmp_path: Path) -> None:
    files = {
        "spack.yaml": SPECS,
        "new/spack_repo/me/own/repo.yaml": "repo: {namespace: me.own, api: v2.0}\n",
        "new/spack_repo/me/own/packages/zlib/package.py": "",
        "old/repo.yaml": "repo:\n  namespace: 'me.old'\n",
        "old/packages/zlib/package.py": "",
    }
    definition = make(tmp_path, files, repos=("new", "old"))
    assert sorted(staged(definition))[:4] == [
        "hpcdeploy/repos/0/spack_repo/me/own/packages/zlib/package.py",
        "hpcdeploy/repos/0/spack_repo/me/own/repo.yaml",
        "hpcdeploy/repos/1/old/packages/zlib/package.py",
        "hpcdeploy/repos/1/old/repo.yaml",
    ]
    calls = [line.strip() for line in build_post(definition).splitlines() if "repo add" in line]
    assert calls == [
        "spack repo add /opt/hpcdeploy/repos/0/spack_repo/me/own",
        "spack repo add /opt/hpcdeploy/repos/1/old",
    ]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"own/packages/x/package.py": ""}, "is not a package repository"),
        ({"own/repo.yaml": "repo: {}"}, "has no namespace"),
    ],
)
def test_a_folder_that_is_no_repository_is_refused(tmp_path: Path, files: Mapping[str, str], words: str) -> None:
    with pytest.raises(EnvironmentFileError, match=words):
        make(tmp_path, {"spack.yaml": SPECS, **files}, repos=("own",))


def test_repositories_that_spack_yaml_would_leave_out_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFileError, match=r"write 'repos:' in spack\.yaml"):
        make(
            tmp_path,
            {"spack.yaml": "spack:\n  repos:: []\n", "own/repo.yaml": "repo: {namespace: own}"},
            repos=("own",),
        )


def test_recipes_are_files_or_folders_with_their_patches(tmp_path: Path) -> None:
    files = {"spack.yaml": SPECS, "py_ray.package.py": "", "zlib/package.py": "", "zlib/fix.patch": ""}
    definition = make(tmp_path, files, recipes=(("py-ray", "py_ray.package.py"), ("zlib", "zlib")))
    assert staged(definition)[1:] == [
        "hpcdeploy/recipes/0/package.py",
        "hpcdeploy/recipes/1/fix.patch",
        "hpcdeploy/recipes/1/package.py",
    ]
    post = build_post(definition)
    assert 'spack repo create "$private/recipes-repo" hpcdeploy_recipes' in post
    assert "place /opt/hpcdeploy/recipes/0 py-ray py_ray" in post


def test_recipes_take_the_namespace_that_the_lock_file_knows_them_by(tmp_path: Path) -> None:
    files = {"spack.yaml": SPECS, "spack.lock": lock("zlib", namespace="me.patches"), "z.py": ""}
    assert 'recipes-repo" me.patches' in build_post(make(tmp_path, files, recipes=(("zlib", "z.py"),)))
    with pytest.raises(EnvironmentFileError, match=r"from Spack's own repository \('builtin'\)"):
        make(tmp_path, {"spack.lock": lock("zlib")}, recipes=(("zlib", "z.py"),))


def test_a_cache_is_read_and_written_with_its_credentials(tmp_path: Path) -> None:
    definition = make(tmp_path, {"spack.yaml": CACHE}, described=SECRETS, secrets=NAMES, push_cache="cache")
    assert definition.secrets == NAMES
    assert not [note for note in definition.notes if "cache" in note]
    assert "configured buildcache push --update-index cache\n" in build_post(definition)


def test_a_cache_without_secrets_is_read_without_credentials_and_that_is_said(tmp_path: Path) -> None:
    definition = make(tmp_path, {"spack.yaml": CACHE})
    assert (
        definition.notes[-1]
        == "the cache cache is used without credentials: the secret CACHE_USER or CACHE_TOKEN is not set"
    )
    assert definition.secrets == ()


@pytest.mark.parametrize(
    ("described", "words", "message"),
    [
        (SECRETS, {"secrets": NAMES[:1]}, "'secrets' of 'spack' lacks CACHE_TOKEN"),
        (SECRETS, {}, "lacks CACHE_USER and CACHE_TOKEN"),
        ((), {"push_cache": "cache"}, "lacks CACHE_USER and CACHE_TOKEN"),
        ((), {"secrets": NAMES}, "uses the secret 'CACHE_USER', which 'secrets' does not define"),
        (SECRETS, {"push_cache": "cahe"}, "which spack.yaml does not have; did you mean 'cache'"),
    ],
)
def test_half_given_credentials_are_refused(
    tmp_path: Path, described: tuple[Secret, ...], words: dict[str, Any], message: str
) -> None:
    with pytest.raises(DefinitionError, match=message):
        make(tmp_path, {"spack.yaml": CACHE}, described=described, **words)


def test_a_cache_that_would_have_to_be_signed_is_not_pushed_to(tmp_path: Path) -> None:
    text = "spack:\n  mirrors: {cache: 'https://example.org'}\n"
    with pytest.raises(DefinitionError, match="must be signed"):
        make(tmp_path, {"spack.yaml": text}, push_cache="cache")


@pytest.mark.parametrize(
    ("body", "base", "note"),
    [
        ("view: /opt/spack-view", "", "the view is at /opt/view instead of the path in spack.yaml (/opt/spack-view)"),
        ("view: {default: {root: x}}", "", "the view is at /opt/view instead of the path in spack.yaml (x)"),
        ("view: false", "", "spack.yaml has 'view: false', so the image has no view"),
        ("view: {a: {root: /srv/a}}", "", "are in the image too: a (/srv/a); /opt/view is added"),
        ("view: {a: {root: /home/me/a}}", "", "a (/home/me/a): these views are not in the image"),
        ("view: {a: {root: $spack/a}}", "", "a ($spack/a): these views are not in the image"),
        ("include: [/etc/site.yaml]", "", "/etc/site.yaml: searched in the build stage's image, not on this machine"),
        (
            "packages: {mpich: {externals: []}, cmake: {externals: [{spec: cmake@3}]}}",
            "",
            "cmake: 'externals' are searched",
        ),
        ("packages: {root: {require: +x}}", "", "also root, whose own 'require' replaces the general one"),
        ("packages: {root: {require: target=zen2}}", "", "; but root for zen2, by its own 'require'"),
        ("specs: [a target=zen2, b target=zen3]", "", "all packages are compiled for zen2, zen3 (spack.yaml: specs)"),
        (
            "specs: [{group: g, specs: [zlib], override: {packages: {zlib: {require: +pic}}}}]",
            "",
            "g: zlib: a group's 'override' takes precedence over the image's target",
        ),
        (
            "packages: {all: {target: [x86_64]}}",
            "",
            "are compiled for x86_64 (spack.yaml: preferred in packages.all)",
        ),
        (
            "specs: ['zlib cflags=-march=native']",
            "",
            "flags name a processor, independent of the target: -march=native (specs)",
        ),
        ("specs: [zlib@develop]", "", "a later build may find other sources: zlib@develop; use a release"),
        ("packages: {gcc: {require: '@13'}}", "", "all packages but gcc are compiled for x86_64_v3"),
        ("packages: {gcc: {require: '@13'}}", "", "gcc: no target is added to a compiler's own 'require'"),
        ("packages: {hdf5: {require: '@main'}}", "", "may find other sources: hdf5@main;"),
        ("packages: {hdf5: {version: [develop]}}", "", "may find other sources: hdf5@develop;"),
        (
            "repos: {o: {git: https://example.org/o.git, branch: main}}",
            "",
            "other sources: https://example.org/o.git (branch main);",
        ),
        (
            "include: [{git: https://example.org/c.git, commit: abc, paths: [x.yaml]}]",
            "",
            "https://example.org/c.git: downloaded while Spack builds",
        ),
        ("container: {singularity: {runscript: demo}}", "", "container: singularity.runscript of spack.yaml is ignored"),
        ("specs: [zlib]", "own/spack:1", "its C library is older than that of own/spack:1, set"),
    ],
)
def test_what_a_person_must_know_is_said(tmp_path: Path, body: str, base: str, note: str) -> None:
    definition = make(tmp_path, {"spack.yaml": f"spack:\n  {body}\n"}, base=base)
    assert [text for text in definition.notes if note in text], definition.notes


def test_a_source_under_development_is_shipped_and_so_does_not_move(tmp_path: Path) -> None:
    files = {"spack.yaml": "spack:\n  specs: [mine@main]\n  develop: {mine: {spec: mine@main, path: src}}\n", "src/a.c": ""}
    assert not [note for note in make(tmp_path, files).notes if "mine@main" in note]


def test_packages_with_requirements_of_their_own_are_told_the_target_and_one_note_says_so(tmp_path: Path) -> None:
    text = "spack:\n  packages:\n    hdf5: {require: '@1.14: +mpi'}\n    mpi: {require: openmpi}\n"
    definition = make(tmp_path, {"spack.yaml": text})
    assert """-c $'packages:hdf5:require::["@1.14: +mpi", "target=x86_64_v3"]'""" in build_post(definition)
    assert "packages:mpi" not in build_post(definition)
    assert [note for note in definition.notes if "hdf5" in note] == [
        (
            "all packages are compiled for x86_64_v3 (the default: nothing names a target), also hdf5, whose own 'require' "
            "replaces the general one; these packages do not run on older processors"
        )
    ]


@pytest.mark.parametrize("where", ["manifest", "included file"])
def test_an_environment_that_says_so_gets_no_view(tmp_path: Path, where: str) -> None:
    inside, outside = ("  view: false\n", "") if where == "manifest" else ("  include: [v.yaml]\n", "view: false\n")
    definition = make(tmp_path, {"spack.yaml": SPECS + inside, "v.yaml": outside})
    assert "/opt/view" not in definition.text
    assert "._view" not in definition.text


def test_the_views_of_an_included_file_are_made_and_go_into_the_image(tmp_path: Path) -> None:
    """Where they are in an included file, ``spack env view enable`` fails or hides them (``set_default_view``)."""
    views = "view:\n  default: {root: x, select: [zlib]}\n  tools: {root: /srv/tools}\n  own: {root: views/own}\n"
    definition = make(tmp_path, {"spack.yaml": SPECS + "  include: [v.yaml]\n", "v.yaml": views})
    assert "env view enable" not in definition.text
    assert "-c view:default:root:/opt/view" in build_post(definition)
    final = read_definition(definition.text)[1]
    taken = dict(next(copies.pairs for copies in final.files if copies.words == "from build"))
    assert taken["/srv/._tools"] == "/srv/._tools"
    assert 'ln -sfn "$(cat /opt/spack-environment/.view1)" /srv/tools' in final.section("post")
    assert "the views of spack.yaml are in the image too: tools (/srv/tools), own (/opt/spack-environment/views/own)" in (
        definition.notes
    )


def test_a_lock_file_must_lock_what_matrices_and_definitions_name(tmp_path: Path) -> None:
    text = "spack:\n  definitions: [{tools: [cmake]}]\n  specs: [$tools, {matrix: [[zlib, hdf5], [+x]]}]\n"
    with pytest.raises(EnvironmentFileError, match="does not lock cmake, hdf5, which"):
        make(tmp_path, {"spack.yaml": text, "spack.lock": lock("zlib")})


def test_the_same_files_give_the_same_inputs_and_others_do_not(tmp_path: Path) -> None:
    first = make(tmp_path, {"spack.yaml": "spack: {include: [a.yaml]}", "a.yaml": "config: {}\n"})
    assert make(tmp_path, {}).inputs == first.inputs
    assert make(tmp_path, {"a.yaml": "config: {x: 1}\n"}).inputs != first.inputs


@pytest.mark.parametrize(("base", "said"), [("", False), ("own/spack:1", True), ("spack/rockylinux9:1.1.0", True)])
def test_a_lock_file_of_another_system_than_the_build_image_s_is_said(tmp_path: Path, base: str, said: bool) -> None:
    text = lock("zlib").replace('"target": "zen3"', '"target": "zen3", "platform_os": "ubuntu24.04"')
    definition = make(tmp_path, {"spack.yaml": SPECS, "spack.lock": text}, base=base)
    assert any("spack.lock was made on ubuntu24.04" in note for note in definition.notes) == said


def test_an_environment_as_a_project_s_own_ci_has_it(tmp_path: Path) -> None:
    text = """\
# A comment first.
spack:
  view: /opt/spack-view
  specs:
  - ccache
  - "vecgeom@1.2.4: +gdml"
  concretizer:
    unify: true
  config:
    install_tree:
      root: /opt/spack
      projections:
        all: "{name}/{version}/{hash:7}"
  mirrors:
    a-buildcache:
      url: oci://ghcr.io/project/buildcache
      signed: false
  packages:
    root:
      variants: ~aqua ~x cxxstd=17
    all:
      compiler: [clang]
      variants: cxxstd=17
"""
    definition = make(tmp_path, {"spack.yaml": text}, push_cache="a-buildcache")
    assert "-c config:install_tree:root:/opt/software" in build_post(definition)
    assert "instead of the path in spack.yaml (/opt/spack-view)" in definition.notes[2]
    assert len(definition.notes) == 3
