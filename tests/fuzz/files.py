"""Files that others wrote: environments, Dockerfiles, definitions, settings, SSH's files, images, and our own records."""

import contextlib
import gzip
import hashlib
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import tomli
import yaml
import zstandard

from hpcdeploy.apptainer.build_record import read_record, record_path
from hpcdeploy.apptainer.contents import read_contents, read_head
from hpcdeploy.apptainer.image_cache import ImageCache
from hpcdeploy.apptainer.local_cache import LocalCache, list_items
from hpcdeploy.apptainer.placing import remove_unrecorded
from hpcdeploy.apptainer.verified_files import VerifiedFiles
from hpcdeploy.config.files import load_project
from hpcdeploy.config.job_files import parse_input
from hpcdeploy.config.resolution import resolve_job
from hpcdeploy.config.sweeps import parse_csv, parse_json_lines, parse_tasks
from hpcdeploy.config.units import parse_memory, parse_time
from hpcdeploy.config.validators import parse_array, parse_bind
from hpcdeploy.definition.checking import check_definition
from hpcdeploy.definition.dockerfile.context import read_ignore
from hpcdeploy.definition.dockerfile.rendering import render_dockerfile
from hpcdeploy.definition.grammar import read_definition, substitute
from hpcdeploy.direct.archives import Archive
from hpcdeploy.direct.flattening import Flattened
from hpcdeploy.direct.layers import TarLayer
from hpcdeploy.direct.metadata import base_layer
from hpcdeploy.engine.instances import Instance, Instances
from hpcdeploy.environments.inventory import compare, items_of, root_items, spack_items
from hpcdeploy.environments.pixi import read_manifest
from hpcdeploy.environments.pixi_choice import choose_platform
from hpcdeploy.environments.pixi_lock import read_lock
from hpcdeploy.environments.pixi_package import package_places
from hpcdeploy.environments.spack import expanded, group_escapes, group_targets, read_environment
from hpcdeploy.environments.spack_lock import read_lock as read_spack_lock
from hpcdeploy.errors import BuildError, EnvironmentFileError, HpcdeployError
from hpcdeploy.flows.freshness import BuildInputs
from hpcdeploy.flows.ignoring import kept, read_rules
from hpcdeploy.flows.sources.oci import read_archive
from hpcdeploy.flows.ssh_includes import included
from hpcdeploy.image import ImageSettings
from hpcdeploy.known_files import KnownFiles
from hpcdeploy.source import DockerfileSource
from hpcdeploy.transport.known_hosts import judge, parse_known_hosts
from hpcdeploy.transport.ssh_config import ConfigFiles, read_options
from hpcdeploy.transport.ssh_settings import Person, parse_jump, parse_ssh_g, settings_from
from tests.apptainer.sifs import DEFINITION, JSON, LABELS, Part, partition, sif, signature, squashfs
from tests.definition.dockerfile.samples import SAMPLES, plan_of
from tests.direct import layer_files
from tests.environments.test_pixi_lock import V5
from tests.fuzz.damage import as_json, as_toml, as_yaml, contents, texts
from tests.fuzz.parser import Parser
from tests.fuzz.registries import CONFIG
from tests.fuzz.schedulers import IMAGE, tar_of

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
GOLDEN = Path(__file__).parent.parent / "definition" / "golden"

PIXI = tomli.loads((EXAMPLES / "mnist" / "pixi.toml").read_text())
PACKAGE = {
    "package": {"name": "x", "version": "1", "build": {"backend": {"name": "b"}, "source": {"path": "../y"}}},
    "host-dependencies": {"a": {"path": "z"}},
}
SPACK = yaml.safe_load(
    """
spack:
  specs: ["geant4@11", "builtin.hdf5+mpi ^zlib", $compilers, {matrix: [[zlib, bzip2], ["%gcc"]]}]
  definitions: [{compilers: [gcc@13], when: "True"}]
  packages: {all: {require: [target=zen4]}, hdf5: {variants: +mpi, externals: [{spec: hdf5@1, prefix: /usr}]}}
  mirrors: {m: {url: "https://example.org/m", signed: false}}
  repos: [./own]
  include: [./common.yaml]
  view: {default: {root: /opt/view, select: [zlib]}}
  develop: {mine: {path: ./mine, spec: mine@main}}
  concretizer: {unify: true}
  container: {images: {os: "ubuntu:24.04", spack: "1.0"}, os_packages: {final: [libgomp1]}}
"""
)
SPACK_LOCK = {
    "_meta": {"file-type": "spack-lockfile", "lockfile-version": 6, "specfile-version": 4},
    "roots": [{"hash": "h0", "spec": "zlib"}],
    "concrete_specs": {
        "h0": {
            "name": "zlib",
            "version": "1.3",
            "namespace": "builtin",
            "arch": {"target": "x86_64_v3"},
        },
        "h1": {"name": "x", "version": "main", "arch": {"target": {"name": "zen4"}}, "parameters": {"cflags": ["-O2"]}},
    },
}
SETTINGS = tomli.loads((EXAMPLES / "mnist" / "hpcdeploy.toml").read_text()) | {
    "clusters": {"hpc": {"host": "h", "scheduler": "slurm", "defaults": {"time": "1 h"}, "binds": ["/a:/b:ro"]}}
}
SSH_CONFIG = """
Host *.example.org !bad
  HostName %h
  Port 22
  ProxyJump me@a:22,b
Match user me host x
  IdentityFile ~/.ssh/%r
Include "conf d/*"
Host h
	UserKnownHostsFile "/a b" /c
  ControlPath ~/.ssh/%C
"""
SSH_G = """user me
hostname h
port 22
identityfile ~/.ssh/id
userknownhostsfile /a b /c
proxyjump a,b
controlpath none
"""
SSH_INCLUDES = """Include a ~/.ssh/b "c d" 'e'
Host x
  include = conf.d/*.conf
"""

KNOWN_HOSTS = """h,[h]:2222 ssh-ed25519 AAAAC3Nz
|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= ssh-rsa AAAA
@revoked *.example.org ssh-rsa AAAA c
"""
DEFINITIONS = tuple(path.read_text() for path in sorted(GOLDEN.glob("*.def")))
INSTANCE = {
    "name": "x",
    "engine": "docker",
    "program": "docker",
    "image": "i",
    "environment": [["A", "b"]],
    "workdir": "",
    "started": 1,
}
KNOWN = {"files": [[1, 2, 3, 4, 5, "ab", "x"]], "documents": {"k": {}}}
LABELLED = sif(
    Part(kind=DEFINITION, content=b"Bootstrap: docker\nFrom: a\n%test\n true\n"),
    Part(kind=LABELS, content=b'{"a": "b"}'),
    Part(kind=JSON, content=b'{"data": {"attributes": {"labels": {"x": "y"}, "test": "t"}}}', name="inspect-metadata.json"),
    partition(squashfs()),
    signature(b"k" * 20),
)
OCI_ARCHIVE = tar_of(**{"index.json": b'{"schemaVersion": 2, "manifests": []}', "oci-layout": b"{}"})
DOCKER_ARCHIVE = tar_of(
    **{"manifest.json": b'[{"Config": "c.json", "RepoTags": ["a:1"], "Layers": []}]', "c.json": json.dumps(CONFIG).encode()}
)
LAYER = layer_files.tar(
    [
        *(layer_files.folder("a"), layer_files.file("a/b", b"content", pax_headers={"SCHILY.xattr.user.x": "y"})),
        *(layer_files.hard("c", "a/b"), layer_files.link("d", "/a"), layer_files.file("d/e"), layer_files.file("a/.wh.b")),
        *(layer_files.file("a/.wh..wh..opq"), layer_files.device("n"), layer_files.file("x" * 150, b"long")),
    ]
)
LAYERS = (LAYER, gzip.compress(LAYER, mtime=0), zstandard.compress(LAYER))
PERSON = Person(user="me", uid=1000, home=Path("/home/me"), machine="m", environment=(("HOME", "/home/me"),))


def of_file(text: str) -> str:
    """Return `text` as a file of UTF-8 can hold it."""
    return text.encode("utf-8", "replace").decode()


def manifest(text: str) -> None:
    workspace = read_manifest(text)
    for environment in workspace.environments:
        for platform in workspace.platforms_for(environment):
            environment.on(platform)


def lock(text: str) -> None:
    locked = read_lock(text)
    workspace = read_manifest('[workspace]\nplatforms = ["linux-64"]\n[environments]\ngpu = []\n')
    for environment in locked.environments:
        for row in locked.rows(environment):
            items = items_of(locked.read(environment, row).packages)
            compare(items, items)
    choose_platform(workspace, workspace.environments[-1], locked)


def spack(text: str) -> None:
    environment = read_environment(text)
    root_items(expanded(environment, [environment.configuration]))
    group_targets(environment)
    group_escapes(environment, ("zlib",))


def spack_lock(text: str) -> None:
    read_spack_lock(text)
    spack_items(text)


def packages(text: str) -> None:
    for file in ("pixi.toml", "pyproject.toml", "recipe.yaml", "package.xml"):
        try:
            package_places(text, file)
        except EnvironmentFileError:
            continue


def dockerfile(text: str) -> None:
    plan = plan_of(of_file(text))
    settings = ImageSettings(name="x", source=DockerfileSource())
    check_definition(render_dockerfile(plan, settings, file="Dockerfile"), dict(plan.known))


def definition(text: str) -> None:
    check_definition(of_file(text))
    read_definition(substitute(of_file(text), {}))


def settings(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "hpcdeploy.toml").write_bytes(text.encode("utf-8", "surrogatepass"))
        project = load_project(Path(folder), {"HOME": folder, "XDG_CONFIG_HOME": f"{folder}/config"})
        for job in project.jobs:
            for cluster in project.clusters:
                resolve_job(project, job, cluster)


def words(text: str) -> None:
    for parse in (parse_memory, parse_time, parse_bind, parse_array, parse_input, parse_tasks):
        try:
            parse(text)
        except HpcdeployError:
            continue


def sweeps(text: str) -> None:
    for parse in (parse_csv, parse_json_lines):
        try:
            parse(text.encode("utf-8", "surrogatepass"))
        except HpcdeployError:
            continue


def ssh_config(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        files = ConfigFiles(files=((path, Path(folder)),), home=Path(folder))
        settings_from("h", read_options("h", files, local_user="me"), PERSON, login="ssh h")


def ssh_includes(text: str) -> None:
    list(included(os.fsdecode(text.encode("utf-8", "surrogatepass")), Path("config"), 9))


def ssh_g(text: str) -> None:
    settings_from("h", parse_ssh_g(text), PERSON, login="ssh h")


def known_hosts(text: str) -> None:
    judge(b"key", "h.example.org", 2222, None, parse_known_hosts(text, "known_hosts"))


def ignoring(text: str) -> None:
    kept(read_rules(text), ["a/b.txt", "c", "d/e/f", "a b", "\u00e9/x"])
    ignore = read_ignore(text)
    for name in ("a/b.txt", "c", "d/e/f"):
        ignore.ignores(name)


def sif_file(content: bytes) -> None:
    read_contents(io.BytesIO(content), "x.sif")
    read_head(content[:20_000], len(content), "x.sif")


def sif_metadata(text: str) -> None:
    content = text.encode("utf-8", "surrogatepass")
    parts = Part(kind=JSON, content=content, name="inspect-metadata.json"), Part(kind=LABELS, content=content)
    found = read_contents(io.BytesIO(sif(*parts)), "x.sif")
    assert all(isinstance(value, str) for value in found.labels.values())


def archive(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.tar"
        path.write_bytes(content)
        for kind in ("oci-archive", "docker-archive"):
            with contextlib.suppress(EnvironmentFileError):
                read_archive(path, kind)
            try:
                with Archive(path, kind) as opened:
                    for one in opened.image().layers:
                        opened.opener(one)
            except BuildError:
                continue


def image_layer(content: bytes) -> None:
    flattened = Flattened()
    flattened.add(TarLayer(lambda: io.BytesIO(content), "a layer"))
    flattened.add(base_layer(flattened.tree, 0))
    flattened.write(io.BytesIO(), time=0)


def image_record(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "x.sif"
        image.write_bytes(b"image")
        record_path(image).write_bytes(text.encode("utf-8", "surrogatepass"))
        read_record(image)


def local_cache(text: str) -> None:
    """Read the text as each of the private files of the cache on this machine."""
    with tempfile.TemporaryDirectory() as folder:
        cache = LocalCache(root=Path(folder) / "cache")
        for path in (cache.images, cache.downloads / "d" / "files", cache.verified, cache.builds):
            path.mkdir(parents=True)
        cache.root.chmod(0o700)
        output = Path(folder) / "x.sif"
        for image in (cache.images / "x.sif", output):
            image.write_bytes(b"image")
        status = output.stat()
        note = hashlib.sha256(os.fsencode(output)).hexdigest()[:32]
        for path in (
            cache.images / "x.json",
            cache.downloads / "d" / "about.json",
            cache.verified / f"{status.st_dev}-{status.st_ino}.json",
            cache.builds / f"placed-{note}.json",
        ):
            path.parent.chmod(0o700)
            path.write_bytes(text.encode("utf-8", "surrogatepass"))
        assert list_items(cache)
        VerifiedFiles(cache.verified).sha256(output)
        VerifiedFiles(cache.verified).remove_stale()
        ImageCache(cache.images, VerifiedFiles(cache.verified)).find("x")
        remove_unrecorded(output, cache.builds)


def known_files(text: str) -> None:
    known = KnownFiles(text)
    known.sha256(Path(__file__))
    known.document("x", lambda: {"a": 1})
    KnownFiles(known.written())


def instance(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        known = Instances(Path(folder))
        known.note(Instance(name="x", engine="docker", program="docker", image="i", environment=(), workdir="", started=0))
        (known.folder("x") / "instance.json").write_bytes(text.encode("utf-8", "surrogatepass"))
        known.all()


def inputs(text: str) -> None:
    read = BuildInputs.read(text)
    read.written()


INPUTS: dict[str, Any] = {
    "inputs": "cd" * 32,
    "version": "1",
    "given": [["A", "b"]],
    "settings": {"source.pixi": "x"},
    "files": {"a": "ab" * 32},
    "asked": {"a": {"digest": "sha256:0", "entrypoint": ["a"], "env": [["A", "b"]]}},
    "bases": {"debian:13": "sha256:0"},
    "architecture": "amd64",
}

FILES = (
    Parser(name="pixi.toml", inputs=as_toml([PIXI]), read=manifest),
    Parser(name="pixi.toml-text", inputs=texts(((EXAMPLES / "mnist" / "pixi.toml").read_text(),)), read=manifest),
    Parser(name="pixi.lock", inputs=as_yaml([yaml.safe_load(V5)]), read=lock),
    Parser(name="pixi.lock-text", inputs=texts((V5,)), read=lock),
    Parser(name="package-manifest", inputs=as_toml([PACKAGE]) | as_yaml([PACKAGE]), read=packages),
    Parser(name="spack.yaml", inputs=as_yaml([SPACK]), read=spack),
    Parser(name="spack.yaml-text", inputs=texts((yaml.safe_dump(SPACK),)), read=spack),
    Parser(name="spack.lock", inputs=as_json([SPACK_LOCK]), read=spack_lock),
    Parser(name="dockerfile", inputs=texts(tuple(SAMPLES.values())), read=dockerfile),
    Parser(name="definition", inputs=texts(DEFINITIONS), read=definition),
    Parser(name="hpcdeploy.toml", inputs=as_toml([SETTINGS]), read=settings),
    Parser(name="hpcdeploy.toml-text", inputs=texts(((EXAMPLES / "mnist" / "hpcdeploy.toml").read_text(),)), read=settings),
    Parser(name="words-of-options", inputs=texts(("8 GB", "1 h 30 min", "/a:/b:ro", "0-9%2", "a=b", "3,5-7")), read=words),
    Parser(name="sweeps", inputs=texts(("a,b\n1,2\n", '{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n')), read=sweeps),
    Parser(name="ssh_config", inputs=texts((SSH_CONFIG,)), read=ssh_config),
    Parser(name="ssh_includes", inputs=texts((SSH_CONFIG, SSH_INCLUDES)), read=ssh_includes),
    Parser(name="ssh-G", inputs=texts((SSH_G,)), read=ssh_g),
    Parser(name="proxy-jump", inputs=texts(("me@a:22,b", "[::1]:22", "ssh://u@h:1")), read=parse_jump),
    Parser(name="known_hosts", inputs=texts((KNOWN_HOSTS,)), read=known_hosts),
    Parser(name="ignore-files", inputs=texts(("*.txt\n!b.txt\n/c\nd/**/f\n[a-c]\n# x\n\\ \n",)), read=ignoring),
    Parser(name="sif", inputs=contents((LABELLED,)), read=sif_file),
    Parser(name="sif-metadata", inputs=as_json([{"data": {"attributes": {"labels": {"a": "b"}}}}]), read=sif_metadata),
    Parser(name="image-layer", inputs=contents(LAYERS), read=image_layer),
    Parser(name="image-archive", inputs=contents((OCI_ARCHIVE, DOCKER_ARCHIVE)), read=archive),
    Parser(name="image-record", inputs=as_json([IMAGE]), read=image_record),
    Parser(
        name="local-cache",
        inputs=as_json(
            [IMAGE, {"project": "/p", "image": "x"}, {"path": "2f70", "signature": [1, 2, 3, 4, 5], "sha256": "a"}]
        ),
        read=local_cache,
    ),
    Parser(
        name="known-files",
        inputs=as_json([KNOWN]),
        read=known_files,
    ),
    Parser(name="instance-record", inputs=as_json([INSTANCE]), read=instance),
    Parser(name="build-inputs", inputs=as_json([INPUTS]), read=inputs),
)
