"""No file that ssh includes is overlooked; the judge is ssh itself (``ssh -G``)."""

import os
import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import ConfigError
from hpcdeploy.flows.ssh_includes import homes, included
from hpcdeploy.flows.trust import commands_of
from hpcdeploy.transport.ssh_config import config_files, read_options

CLUSTER = Cluster(name="far", of_project=True, host="hpc.example.org")


def of(folder: Path, text: str) -> Cluster:
    (folder / "ssh").write_text(text)
    return replace(CLUSTER, ssh_config=str(folder / "ssh"), project=str(folder))


def shown(cluster: Cluster) -> list[str]:
    """Return the files that are shown with their content."""
    return [one.text.removeprefix("ssh-config: ") for one in commands_of(cluster, {}) if one.sha256]


def judged(cluster: Cluster) -> str:
    """Return what ssh does with the configuration: the user that it would log in as; empty: it refuses the file."""
    argv = ["ssh", "-G", "-F", str(cluster.ssh_config), "hpc.example.org"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    users = [line.removeprefix("user ") for line in done.stdout.splitlines() if line.startswith("user ")]
    return users[0] if done.returncode == 0 else ""


PLAIN = [
    "Include {more}",
    "include={more}",
    "INCLUDE = {more}",
    "  \tInclude\t{more}  ",
    "Include {more}\r",
    "Include /nowhere {more}",
    'Include "{more}"',
    "Include '{more}'",
    'Include "{folder}/nowhere here" {more}',
    '"Include" {more}',
    '"Include"{more}',
    '\t"include" "{more}"',
    "Include {folder}/mo?e",
    "Include {folder}/.*de* {folder}/m*",
    "Include {folder}/m{{ore,x}} {folder}/more",
    "Host other\n  Include /nowhere\nHost *\n  Include {more}",
    "Match originalhost hpc.example.org\n  Include {more}",
    "# a comment\n\nCompression yes\nInclude {more}",
]


@pytest.mark.parametrize("text", PLAIN)
def test_what_ssh_includes_is_shown(tmp_path: Path, text: str) -> None:
    more = tmp_path / "more"
    more.write_text("User found\n")
    cluster = of(tmp_path, text.format(more=more, folder=tmp_path) + "\n")
    assert judged(cluster) == "found"
    assert shown(cluster) == [cluster.ssh_config, str(more)]


DOUBTFUL = [
    'Inc"lude" {more}',
    '"" Include {more}',
    "=Include {more}",
    '"Include" == {more}',
    "Include == {more}",
    'Include {folder}/"more"',
    'Include "{folder}"/more',
    "Include {folder}/'more'",
    "Include {folder}/mor[e]",
    "Include {folder}/mor[^x]",
    "Include {folder}/mor\\e",
    "Include {folder}/%u",
    "Include ${{HOME}}/more",
    "Include '{folder}/more and' {more}",
    "Include {more} # more",
    "Include {more} #{more}",
    "Include {more}\x00x",
    "Compression yes\x0cInclude {more}",
    "Include {more}\x0cx",
    "Include {more}\u2028x",
    "\u00a0Include {more}",
    'Include "{more}',
    "Include",
    "Include\x0b{more}",
]


@pytest.mark.parametrize("text", DOUBTFUL)
def test_a_line_that_releases_of_ssh_read_differently_is_refused(tmp_path: Path, text: str) -> None:
    more = tmp_path / "more"
    more.write_text("User found\n")
    cluster = of(tmp_path, text.format(more=more, folder=tmp_path) + "\n")
    with pytest.raises(ConfigError, match=r"; write complete paths$") as refused:
        commands_of(cluster, {})
    assert str(refused.value).startswith(f"{cluster.ssh_config}: found ")
    assert (refused.value.exit_code, str(refused.value).count("\n")) == (2, 0)


def test_a_longer_keyword_is_none(tmp_path: Path) -> None:
    cluster = of(tmp_path, "IgnoreUnknown Includes\nIncludes x # %h\n")
    assert judged(cluster) != ""
    assert shown(cluster) == [cluster.ssh_config]


@pytest.mark.parametrize("line", ["Host x # Include y", "#Include %h", "User Include", "ProxyCommand include %h [x] #"])
def test_other_lines_may_say_what_they_like(tmp_path: Path, line: str) -> None:
    assert shown(of(tmp_path, f"{line}\n")) == [str(tmp_path / "ssh")]


def test_what_our_own_reader_includes_is_shown_too(tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.write_text("User found\n")
    for text in (text for text in (*PLAIN, *DOUBTFUL) if "\0" not in text):
        cluster = of(tmp_path, text.format(more=more, folder=tmp_path) + "\n")
        try:
            options = read_options("hpc.example.org", config_files(cluster.ssh_config, tmp_path), local_user="me")
        except ConfigError:
            continue
        if options.get("user") == ["found"]:
            with suppress(ConfigError):
                assert str(more) in shown(cluster)


def test_relative_names_are_those_of_the_folder_of_ssh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    own = homes()[1]
    assert own != tmp_path
    assert list(included("Include a ~/b ../c\n", Path("x"), 9)) == [
        *(tmp_path / ".ssh/a", own / ".ssh/a"),
        tmp_path / "b",
        *(tmp_path / ".ssh/../c", own / ".ssh/../c"),
    ]


def test_a_file_above_the_folder_of_ssh_counts_with_its_content(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/own").write_text("User own\n")
    (tmp_path / "more").write_text("User found\n")
    cluster = of(tmp_path, "Include ../more own\n")
    assert shown(cluster) == [str(tmp_path / "ssh"), f"{tmp_path}/.ssh/../more"]
    assert f"ssh-config: {tmp_path}/.ssh/own" in [one.text for one in commands_of(cluster, {})]


def test_files_in_files_are_shown_and_so_is_what_they_include(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/one.conf").write_text(f"Include {tmp_path}/deep\n")
    (tmp_path / "d/two.conf").write_text("Host two\n")
    (tmp_path / "d/.three.conf").write_text("Host three\n")
    (tmp_path / "deep").write_text(f"Match host *\n  Include {tmp_path}/deeper\n")
    (tmp_path / "deeper").write_text("User found\n")
    cluster = of(tmp_path, f"Include {tmp_path}/d/*.conf\n")
    assert judged(cluster) == "found"
    assert [Path(name).name for name in shown(cluster)] == ["ssh", "one.conf", "two.conf", "deep", "deeper"]


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("??", "\u00e4"),
        ("?", "\u00e4"),
        ("??", "\udcff\udcfe"),
        ("?", "\udcff"),
        ("*", "\u00e4"),
        ("a????", "a\u20ac\udcff"),
        ("\u00e4?", "\u00e4b"),
        ("*", ".x"),
        ("?x", ".x"),
        (".*", ".x"),
        (".?", ".x"),
        ("{x}", "x"),
        ("{?}", "{x}"),
        ("x*", "X"),
    ],
)
def test_names_are_compared_as_ssh_compares_them_byte_by_byte(tmp_path: Path, pattern: str, name: str) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / name).write_text("User found\n")
    cluster = replace(CLUSTER, ssh_config=str(tmp_path / "ssh"), project=str(tmp_path))
    (tmp_path / "ssh").write_bytes(os.fsencode(f"Include {tmp_path}/d/{pattern}\n"))
    read = judged(cluster) == "found"
    assert shown(cluster) == [cluster.ssh_config, *([f"{tmp_path}/d/{name}"] if read else [])]
    options = read_options("hpc.example.org", config_files(cluster.ssh_config, tmp_path), local_user="me")
    assert options.get("user") == (["found"] if read else None)


def test_names_are_in_the_order_of_their_bytes(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    names = ("a", "\ue000", "\udcff")  # as characters, the last comes before the second
    for name in names:
        (tmp_path / "d" / name).write_text("Compression yes\n")
    assert shown(of(tmp_path, f"Include {tmp_path}/d/*\n"))[1:] == [f"{tmp_path}/d/{name}" for name in names]


def test_a_folder_in_the_path_of_a_file_that_others_can_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "private/deep").mkdir(parents=True)
    (tmp_path / "private/deep/more").write_text("User found\n")
    (tmp_path / "open").mkdir()
    (tmp_path / "open/link").symlink_to("../private")
    for name in ("open/link/deep/more", "private/deep/more"):
        cluster = of(tmp_path, f"Include {tmp_path}/{name}\n")
        folder = (tmp_path / name).parent.parent.parent if "open" in name else tmp_path / "private"
        assert len(shown(cluster)) == 2
        folder.chmod(0o777)
        with pytest.raises(ConfigError, match=f"^{folder} may be written by everybody"):
            commands_of(cluster, {})
        folder.chmod(0o755)


@pytest.mark.parametrize("where", ["ssh", "more"])
@pytest.mark.parametrize(
    "line",
    [
        "Match exec ./program",
        "ProxyCommand ./program",
        "LocalCommand ./program\nPermitLocalCommand yes",
        "KnownHostsCommand ./program",
        "PKCS11Provider ./library",
        "SecurityKeyProvider ./library",
        "IdentityFile ./key",
        "IdentityAgent ./socket",
        "UserKnownHostsFile ./hosts",
        "XAuthLocation ./program",
        "HostName elsewhere.example.org",
    ],
)
def test_whatever_a_file_says_is_part_of_what_is_allowed(tmp_path: Path, where: str, line: str) -> None:
    (tmp_path / "more").write_text("Compression yes\n")
    cluster = of(tmp_path, f"Include {tmp_path}/more\n")
    before = commands_of(cluster, {})
    with (tmp_path / where).open("a") as file:
        file.write(f"{line}\n")
    after = commands_of(cluster, {})
    assert [one.text for one in after] == [one.text for one in before]
    changed = [Path(new.text).name for new, old in zip(after, before, strict=True) if new != old]
    assert changed == [where]


@pytest.mark.parametrize("where", ["ssh", "more"])
def test_what_cannot_be_known_before_is_refused(tmp_path: Path, where: str) -> None:
    cluster = of(tmp_path, f"Include {tmp_path}/more /dev/null {tmp_path}\n")
    assert shown(cluster) == [cluster.ssh_config]
    (tmp_path / where).unlink(missing_ok=True)
    os.mkfifo(tmp_path / where)
    with pytest.raises(ConfigError, match=rf"the SSH configuration {tmp_path}/{where} cannot be read: it is a named pipe"):
        commands_of(cluster, {})


def test_a_file_in_a_folder_where_others_can_replace_it_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    (folder / "more").write_text("User found\n")
    cluster = of(tmp_path, f"Include {folder}/more\n")
    assert shown(cluster) == [cluster.ssh_config, f"{folder}/more"]
    folder.chmod(0o777)
    with pytest.raises(ConfigError, match=f"^{folder} may be written by everybody"):
        commands_of(cluster, {})
    folder.chmod(0o1777)
    assert shown(cluster) == [cluster.ssh_config, f"{folder}/more"]
