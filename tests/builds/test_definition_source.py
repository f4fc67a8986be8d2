"""Definitions that a user wrote: the files and arguments of their builds, and errors before a build."""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import DefinitionError
from hpcdeploy.flows.build import build_on
from hpcdeploy.flows.generate import generate
from hpcdeploy.flows.secrets import read_secrets
from hpcdeploy.image import Definition, ImageSettings, Secret
from hpcdeploy.source import DefinitionSource
from hpcdeploy.transport.contract import Transport
from tests.builds.test_build_on_cluster import shell
from tests.sessions import session

SETTINGS = ImageSettings(name="own", source=DefinitionSource(file="own.def"))
TREE = (
    *("app/main.py", "app/inner/deep.txt", "app/.hidden", "app/.git/config", "data/a.csv", "data/b.csv", "data/c.txt"),
    *("my file.txt", "old.sif", "base.sif"),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in TREE:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"this is {name}\n")
    (tmp_path / "app/main.py").chmod(0o755)
    return tmp_path


def write(
    folder: Path, text: str, *, settings: ImageSettings = SETTINGS, given: Sequence[tuple[str, str]] = ()
) -> Definition:
    (folder / "own.def").write_bytes(text.encode())
    return generate(settings, folder, build_args=given)


def with_files(*lines: str) -> str:
    return "Bootstrap: docker\nFrom: debian:13\n\n%files\n" + "".join(f"    {line}\n" for line in lines) + "\n%post\ntrue\n"


def test_the_text_stays_as_it_is_byte_for_byte(folder: Path) -> None:
    text = "# mine\r\nBootstrap: docker\r\nFrom: debian:13\r\n\r\n%post\r\n\techo ü  \r\n\r\n\r\n"
    assert write(folder, text).text.encode() == text.encode()


@pytest.mark.parametrize(
    ("line", "staged"),
    [
        ("app /opt", {"app/main.py", "app/inner/deep.txt", "app/.hidden"}),
        ("./app/ /opt", {"app/main.py", "app/inner/deep.txt", "app/.hidden"}),
        ("data/*.csv /opt/", {"data/a.csv", "data/b.csv"}),
        ("data/[ac].* /opt/", {"data/a.csv", "data/c.txt"}),
        ("data/?.txt /opt/", {"data/c.txt"}),
        ("app/* /opt", {"app/main.py", "app/inner/deep.txt"}),
        ("**/*.txt /opt/", {"app/inner/deep.txt", "data/c.txt", "my file.txt"}),
        ('"my file.txt" "/opt/my file.txt"', {"my file.txt"}),
        ("base.sif /opt/", {"base.sif"}),
        ("data/a.csv", {"data/a.csv"}),
        ("# data/a.csv", set()),
        ("data/a.csv /opt/a\n    ./data/a.csv /opt/b", {"data/a.csv"}),
    ],
)
def test_files_are_staged_where_the_build_will_look_for_them(folder: Path, line: str, staged: set[str]) -> None:
    files = {file.staged: file for file in write(folder, with_files(line)).files}
    assert set(files) == staged
    assert all(file.source.samefile(folder / name) for name, file in files.items())
    assert all((file.mode == 0o755) == (name == "app/main.py") for name, file in files.items())


def test_the_whole_project_comes_without_images_caches_and_history(folder: Path) -> None:
    definition = write(folder, with_files(". /opt/project"))
    kept = {name for name in TREE if ".git" not in name and not name.endswith(".sif")}
    assert {file.staged for file in definition.files} == kept | {"own.def"}
    assert any("base.sif, old.sif is left out of the build" in note for note in definition.notes)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("/etc/hostname /opt", "'/etc/hostname', a path of this machine, which a login node does not have"),
        ("~/x /opt", "a path of this machine"),
        ("../x /opt", "which has '..'"),
        ("app/../data /opt", "which has '..'"),
        ("$HOME/x /opt", "only the building machine can expand"),
        ("data/{a,b}.csv /opt", "only the building machine can expand"),
        ("missing /opt", "which is not in"),
        ("*.nothing /opt", "which matches nothing in"),
        ("link /opt", "outside the project"),
    ],
)
def test_files_that_a_build_elsewhere_would_not_have_are_refused(folder: Path, line: str, words: str) -> None:
    (folder / "link").symlink_to("/etc/hostname")
    with pytest.raises(DefinitionError, match=words.replace("$", r"\$")):
        write(folder, with_files(line))


def test_copies_between_stages_are_the_image_s_own(folder: Path) -> None:
    stage = "Bootstrap: docker\nFrom: debian:13\nStage: one\n\n"
    text = stage + with_files("data/a.csv /opt/").replace("%files\n", "%files from one\n    /etc/passwd /opt/\n\n%files\n")
    assert [file.staged for file in write(folder, text).files] == ["data/a.csv"]


@pytest.mark.parametrize(
    ("header", "staged"),
    [
        ("localimage\nFrom: base.sif", ["base.sif"]),
        ("localimage\nFrom: ./base.sif", ["base.sif"]),
        ("localimage\nFrom: /central/images/base.sif", []),
        ("oci-archive\nFrom: data/a.csv:v1", ["data/a.csv"]),
        ("docker\nFrom: base.sif", []),
    ],
)
def test_a_base_that_is_a_file_is_staged_too(folder: Path, header: str, staged: list[str]) -> None:
    assert [file.staged for file in write(folder, f"Bootstrap: {header}\n\n%post\ntrue\n").files] == staged


def test_apps_bring_files_too(folder: Path) -> None:
    lines = "    data/a.csv ./ # note\n# data/b.csv\n    app\n"
    text = f"Bootstrap: docker\nFrom: debian:13\n\n%appfiles tool\n{lines}\n%apprun tool\ntrue\n"
    files = write(folder, text).files
    assert [file.staged for file in files] == ["data/a.csv", "app/.hidden", "app/inner/deep.txt", "app/main.py"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("data/*.csv ./", "'data/*.csv', but Apptainer expands patterns only in %files"),
        ('"my file.txt" ./', "'\"my', but Apptainer expands patterns only in %files"),
        ("data/a.csv\t./", "which is not in"),
    ],
)
def test_files_of_apps_are_named_as_they_stand(folder: Path, line: str, words: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        write(folder, f"Bootstrap: docker\nFrom: debian:13\n\n%appfiles tool\n    {line}\n")
    assert words in str(caught.value)


def test_all_that_is_missing_is_listed_at_once(folder: Path) -> None:
    text = with_files("missing /opt", "data/a.csv /opt", "../x /opt", "*.none /opt", "missing /srv")
    text = text.replace("From: debian:13", "From: gone.sif").replace("Bootstrap: docker", "Bootstrap: localimage")
    with pytest.raises(DefinitionError) as caught:
        write(folder, f"{text}\n%appfiles tool\n    lost ./\n")
    first, *lines = str(caught.value).splitlines()
    assert first == "the definition names 5 paths that cannot be copied:"
    assert [line.partition(" names ")[2].partition(",")[0] for line in lines] == [
        "'gone.sif'", "'missing'", "'../x'", "'*.none'", "'lost'",
    ]  # fmt: skip


def test_a_line_of_files_without_a_source_brings_nothing(folder: Path) -> None:
    assert write(folder, with_files('"" /opt')).files == ()
    assert write(folder, with_files("data/a.csv /opt").replace("%files", "%files  ")).files == ()


ARGUMENTS = (
    "Bootstrap: docker\nFrom: debian:{{ V }}\n\n%arguments\n    V=13\n    NAME=a\n\n%files\n    data/{{ NAME }}.csv /opt/\n"
)


def test_its_arguments_are_the_build_s(folder: Path) -> None:
    assert [file.staged for file in write(folder, ARGUMENTS).files] == ["data/a.csv"]
    given = write(folder, ARGUMENTS, given=[("NAME", "b")])
    assert ([file.staged for file in given.files], given.build_args) == (["data/b.csv"], (("NAME", "b"),))
    settings = replace(SETTINGS, build_args=(("NAME", "b"), ("V", "12")))
    both = write(folder, ARGUMENTS, settings=settings, given=[("V", "11")])
    assert (both.build_args, both.base) == ((("NAME", "b"), ("V", "11")), "debian:11")
    with pytest.raises(DefinitionError, match="'COLOUR' is not used in the definition"):
        write(folder, ARGUMENTS, given=[("COLOUR", "red")])


def test_an_argument_without_a_default_must_be_given(folder: Path) -> None:
    text = "Bootstrap: docker\nFrom: debian:{{ V }}\n\n%post\ntrue\n"
    with pytest.raises(DefinitionError, match="sets V"):
        write(folder, text)
    assert write(folder, text, given=[("V", "13")]).base == "debian:13"


def test_what_runs_on_the_host_and_all_secrets_are_told(folder: Path) -> None:
    settings = replace(SETTINGS, secrets=(Secret(name="TOKEN", env="TOKEN"), Secret(name="KEY", file="key")))
    definition = write(folder, with_files("data /opt") + "\n%setup\ntouch x\n", settings=settings)
    assert definition.secrets == ("TOKEN", "KEY")
    assert "%setup runs on the build host, outside of the container" in definition.notes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("%post\ntrue\n", "must come first"),
        ("", "the definition is empty"),
        ("\n# nothing yet\n", "the definition is empty"),
        (
            "Bootstrap: Docker\nFrom: x\n\n%post\ntrue\n",
            "Apptainer does not know the agent of 'Bootstrap: Docker'; use 'docker'",
        ),
        ("Bootstrap: docker\n\n%post\ntrue\n", "no 'From:' that names its base"),
        ("\ufeffBootstrap: docker\nFrom: x\n\n%post\ntrue\n", "begins with a byte order mark"),
        ("Bootstrap: docker\nFrom: x\n\n%halp\nx\n", "no section is named 'halp'"),
        ("Bootstrap: docker\nFrom: x\n\n%files from one\n/a /b\n", "names no earlier stage"),
    ],
)
def test_what_apptainer_would_refuse_is_refused_before(folder: Path, text: str, words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        write(folder, text)


def test_a_definition_that_cannot_be_read_is_named(folder: Path) -> None:
    with pytest.raises(DefinitionError, match=r"own\.def cannot be read: No such file"):
        generate(SETTINGS, folder)
    (folder / "own.def").write_bytes(b"Bootstrap: docker\nFrom: \xff\n")
    with pytest.raises(DefinitionError, match="is not UTF-8 text"):
        generate(SETTINGS, folder)


ASKING = """\
Bootstrap: docker
From: ghcr.io/prefix-dev/pixi:noble

%arguments
    TOKEN_SHA256=
    KEY_SHA256=

%post
    (
        set -- TOKEN KEY
        . /run/secrets/.ask
        sha256sum </run/secrets/TOKEN | grep {{ TOKEN_SHA256 }}
        sha256sum </run/secrets/KEY | grep {{ KEY_SHA256 }}
    )
    ( set -- && . /run/secrets/.ask )
    [ ! -e /run/secrets/KEY ]

%test
    #!/bin/sh
    [ ! -e /run/secrets/TOKEN ]
"""


def test_the_steps_of_a_written_definition_read_its_secrets_byte_by_byte(
    folder: Path, place: Cluster, transport: Transport
) -> None:
    token, key = "line 'one'\n\"two\" $HOME `id` \\ ✓\n", b"\n\0'\"" + bytes(range(256)) * 400
    (folder / "key").write_bytes(key)
    settings = replace(SETTINGS, secrets=(Secret(name="TOKEN", env="TOKEN"), Secret(name="KEY", file="key")))
    sums = [("TOKEN_SHA256", sha256(token.encode()).hexdigest()), ("KEY_SHA256", sha256(key).hexdigest())]
    definition = write(folder, ASKING, settings=settings, given=sums)
    values = read_secrets(settings, definition.secrets, folder, {"TOKEN": token})
    built = build_on(definition, session(place, transport), secrets=values)
    assert shell(transport, 'apptainer exec "$1" ls -A /run/secrets', built.path) == ""


TWO_STAGES = """\
Bootstrap: docker
From: ghcr.io/prefix-dev/pixi:noble
Stage: build

%arguments
    NAME=nobody

%files
    app /src/app
    data/[ab].csv /src/data/
    **/*.txt /src/texts/
    "my file.txt" "/src/my file.txt"

%post
    echo "made for {{ NAME }}" > /src/made

Bootstrap: docker
From: ghcr.io/prefix-dev/pixi:noble

%files from build
    /src /opt/src

%runscript
    cat /opt/src/made

%test
    #!/bin/sh
    test -s /opt/src/made
"""


def test_two_stages_are_built_on_a_cluster_with_just_these_files(folder: Path, place: Cluster, transport: Transport) -> None:
    definition = write(folder, TWO_STAGES, given=[("NAME", "somebody")])
    assert any("** in '**/*.txt' matches only one level of folders" in note for note in definition.notes)
    built = build_on(definition, session(place, transport))
    assert shell(transport, 'apptainer run "$1"', built.path) == "made for somebody\n"
    found = shell(transport, 'apptainer exec "$1" sh -c "cd /opt/src; find . -type f | LC_ALL=C sort"', built.path)
    assert found.splitlines() == [
        *("./app/.hidden", "./app/inner/deep.txt", "./app/main.py", "./data/a.csv", "./data/b.csv", "./made"),
        *("./my file.txt", "./texts/c.txt"),
    ]
    assert (
        shell(transport, 'apptainer exec "$1" cat /opt/src/app/inner/deep.txt', built.path) == "this is app/inner/deep.txt\n"
    )
    assert shell(transport, 'apptainer exec "$1" test -x /opt/src/app/main.py', built.path) == ""
