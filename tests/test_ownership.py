"""Settings and templates that another user could have written are refused, wherever they are found."""

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcdeploy import ownership
from hpcdeploy.config.files import load_project, token_services
from hpcdeploy.errors import ConfigError
from hpcdeploy.ownership import objection, safe_folders, trusted_users
from hpcdeploy.templates import every_template, render

COMMAND = str(Path(sys.executable).with_name("hpcdeploy"))
ANOTHER = 12345
"""A user and group id that no account of this machine has."""
ADM = 4
"""A group of several, which has a name on every Debian (base-passwd)."""
WE = frozenset({os.geteuid(), 0})


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path / "home"), "XDG_STATE_HOME": str(tmp_path / "state")}


def acl_for(user: int) -> bytes:
    """Return an access control list by which another `user` may write (linux/posix_acl_xattr.h)."""
    nobody = 0xFFFFFFFF
    entries = [(0x01, 6, nobody), (0x02, 6, user), (0x04, 4, nobody), (0x10, 6, nobody), (0x20, 4, nobody)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *one) for one in entries)


def written(path: Path, text: str = "", *, owner: int = 0, group: int = 0, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.chown(path, owner, group)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("owner", "group", "mode", "reason"),
    [
        (0, 0, 0o644, ""),
        (0, 0, 0o664, ""),  # root's own group
        (0, ADM, 0o644, ""),
        (0, ADM, 0o664, "may be written by the group adm (group id 4) (mode 0664)"),
        (0, ANOTHER, 0o664, f"may be written by the group id {ANOTHER} (mode 0664)"),
        (0, 0, 0o666, "may be written by everybody (mode 0666)"),
        (ANOTHER, ANOTHER, 0o600, f"belongs to the user id {ANOTHER}, not to root"),
        (1, 1, 0o644, "belongs to daemon (user id 1), not to root"),
    ],
)
def test_a_file_is_ours_if_we_or_root_own_it_and_nobody_else_may_write_it(
    tmp_path: Path, owner: int, group: int, mode: int, reason: str
) -> None:
    assert objection(written(tmp_path / "x", owner=owner, group=group, mode=mode), WE) == reason


def test_the_private_group_of_a_user_without_a_name_has_his_number(tmp_path: Path) -> None:
    path = written(tmp_path / "x", owner=ANOTHER, group=ANOTHER, mode=0o664)
    assert objection(path, frozenset({ANOTHER, 0})) == ""


def test_whoever_an_access_control_list_lets_write_is_not_overlooked(tmp_path: Path) -> None:
    path = written(tmp_path / "x")
    os.setxattr(path, "system.posix_acl_access", acl_for(ANOTHER))
    assert "may be written by the group root" in objection(path, WE)


def test_a_folder_counts_by_its_owner_where_everybody_may_replace_only_his_own(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    assert objection(folder, WE) == ""
    folder.chmod(0o777)
    assert "everybody" in objection(folder, WE)


@pytest.mark.parametrize("whose", ["link", "target"])
def test_a_link_counts_by_its_own_owner_and_by_what_it_leads_to(tmp_path: Path, whose: str) -> None:
    target = written(tmp_path / "target", owner=ANOTHER if whose == "target" else 0)
    link = tmp_path / "link"
    link.symlink_to(target)
    os.chown(link, ANOTHER if whose == "link" else 0, 0, follow_symlinks=False)
    assert f"user id {ANOTHER}" in objection(link, WE)


def test_root_under_sudo_obeys_who_called_it() -> None:
    assert trusted_users({"SUDO_UID": "1000"}) == frozenset({os.geteuid(), 0, *([1000] if os.geteuid() == 0 else [])})
    assert trusted_users({"SUDO_UID": "x"}) == WE


Plant = Callable[[Path], Path]


def toml_of_another(folder: Path) -> Path:
    return written(folder / "hpcdeploy.toml", "[image]\n", owner=ANOTHER)


def toml_for_all(folder: Path) -> Path:
    return written(folder / "hpcdeploy.toml", "[image]\n", mode=0o666)


def manifest_of_another(folder: Path) -> Path:
    return written(folder / "pixi.toml", "[tool.hpcdeploy.image]\n", owner=ANOTHER)


def broken_manifest_of_another(folder: Path) -> Path:
    return written(folder / "pyproject.toml", "hpcdeploy = [", owner=ANOTHER)


def folder_of_another(folder: Path) -> Path:
    written(folder / "hpcdeploy.toml", "[image]\n")
    os.chown(folder, ANOTHER, ANOTHER)
    return folder


def folder_for_all(folder: Path) -> Path:
    written(folder / "hpcdeploy.toml", "[image]\n").parent.chmod(0o777)
    return folder


PLANTS = [toml_of_another, toml_for_all, manifest_of_another, broken_manifest_of_another, folder_of_another, folder_for_all]


@pytest.mark.parametrize("below", ["", "deep/down"])
@pytest.mark.parametrize("plant", PLANTS)
def test_settings_that_another_could_have_written_are_refused_wherever_they_are_found(
    tmp_path: Path, environ: dict[str, str], plant: Plant, below: str
) -> None:
    shared = tmp_path / "shared"
    (shared / below).mkdir(parents=True)
    refused_path = plant(shared)
    with pytest.raises(ConfigError) as refused:
        load_project(shared / below, environ, optional=True)
    said = str(refused.value)
    assert said.startswith(f"{refused_path} ")
    assert f"set HPCDEPLOY_SAFE_DIRECTORY={shared}" in said
    assert f'add safe-directories = ["{shared}"] to {tmp_path}/home/.config/hpcdeploy/config.toml' in said


@pytest.mark.parametrize("plant", [toml_of_another, toml_for_all, manifest_of_another, folder_of_another, folder_for_all])
def test_a_folder_is_accepted_by_name_or_by_a_folder_above_in_the_variable_or_the_persons_settings(
    tmp_path: Path, environ: dict[str, str], plant: Plant
) -> None:
    shared = tmp_path / "shared"
    plant(shared)
    for accepted in (str(shared), f"/nowhere:{tmp_path}/*", "*"):
        assert load_project(shared, {**environ, "HPCDEPLOY_SAFE_DIRECTORY": accepted}).images
    for other in ("/nowhere", str(tmp_path), f"{shared}/*/x", "shared", ""):
        with pytest.raises(ConfigError):
            load_project(shared, {**environ, "HPCDEPLOY_SAFE_DIRECTORY": other})
    own = written(tmp_path / "home/.config/hpcdeploy/config.toml", 'safe-directories = ["~/../shared"]\n')
    assert load_project(shared, environ).images
    own.write_text('safe-directories = ["shared"]\n')
    with pytest.raises(ConfigError, match=r'found "shared"; expected a folder on this machine that starts with / or ~/'):
        load_project(tmp_path, environ, optional=True)


def test_a_project_accepts_no_folder(tmp_path: Path, environ: dict[str, str]) -> None:
    written(tmp_path / "hpcdeploy.toml", 'safe-directories = ["*"]\n')
    with pytest.raises(ConfigError, match="safe-directories: unknown key"):
        load_project(tmp_path, environ)


def test_a_persons_own_settings_are_his_own(tmp_path: Path, environ: dict[str, str]) -> None:
    own = written(tmp_path / "home/.config/hpcdeploy/config.toml", 'safe-directories = ["*"]\n', owner=ANOTHER)
    with pytest.raises(ConfigError) as refused:
        load_project(tmp_path, environ, optional=True)
    assert str(refused.value).startswith(f"{own} belongs to the user id {ANOTHER}")
    assert "or add" not in str(refused.value)


@pytest.mark.parametrize("how", ["owner", "mode"])
@pytest.mark.parametrize("read", [lambda folder, environ: load_project(folder, environ, optional=True), token_services])
def test_nobody_else_may_replace_a_persons_own_settings(
    tmp_path: Path, environ: dict[str, str], how: str, read: Callable[..., object]
) -> None:
    arguments = (environ,) if read is token_services else (tmp_path, environ)
    folder = written(tmp_path / "home/.config/hpcdeploy/config.toml", 'safe-directories = ["*"]\n').parent
    read(*arguments)
    if how == "owner":
        os.chown(folder, ANOTHER, ANOTHER)
    else:
        folder.chmod(0o777)
    with pytest.raises(ConfigError) as refused:
        read(*arguments)
    assert str(refused.value).startswith(f"{folder} {'belongs to' if how == 'owner' else 'may be written by everybody'}")
    assert "or add" not in str(refused.value)
    assert safe_folders(environ, WE) == ()
    folder.chmod(0o1777)
    os.chown(folder, 0, 0)
    read(*arguments)
    assert safe_folders(environ, WE) == ("*",)


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("kind", ["own settings", "settings", "template"])
def test_the_folder_of_what_a_link_leads_to_counts_too(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, kind: str, steps: int
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    project, there = tmp_path / "project", tmp_path / "project/there"
    links = {"own settings": "home/.config/hpcdeploy/config.toml", "settings": "project/hpcdeploy.toml"}
    link = tmp_path / links.get(kind, f"project/{TEMPLATE}")
    target = written(there / (link.name if steps == 1 else f"safe/{link.name}"))
    if steps == 2:
        (there / link.name).symlink_to(f"safe/{link.name}")
        target = there / link.name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(os.path.relpath(target, link.parent))

    def use() -> object:
        return every_template(project) if kind == "template" else load_project(project, environ, optional=True)

    assert use()
    there.chmod(0o777)
    with pytest.raises(ConfigError, match=rf"^{there} may be written by everybody \(mode 0777\); expected settings and"):
        use()
    there.chmod(0o1777)
    assert use()


PASSED = {
    "own settings": ("home/.config/hpcdeploy", "home/.config/hpcdeploy/config.toml", "home/.config/hpcdeploy"),
    "folder of own settings": ("home/.config", "home/.config/hpcdeploy", "home"),
    "settings": ("project", "project/hpcdeploy.toml", "project"),
    "template": ("project/slurm_templates", "project/slurm_templates/job.sh", "project"),
    "template folder": ("project", "project/slurm_templates", "project"),
}


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("kind", PASSED)
def test_a_link_in_the_middle_of_what_a_link_leads_to_counts_with_its_folder(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, kind: str, absolute: bool
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    holder, link, top = (tmp_path / name for name in PASSED[kind])
    holder.mkdir(parents=True, exist_ok=True)
    private, public = top / "private", top / "public"
    is_folder = "folder" in kind
    inner = {"template folder": "job.sh", "folder of own settings": "config.toml"}.get(kind, link.name)
    written(private / "x" / inner)
    public.mkdir()
    (public / "l").symlink_to("../private")
    target = public / "l/x" / ("" if is_folder else inner)
    link.symlink_to(target if absolute else os.path.relpath(target, holder))
    project = tmp_path / "project"
    project.mkdir(exist_ok=True)

    def use() -> object:
        return every_template(project) if "template" in kind else load_project(project, environ, optional=True)

    assert use()
    public.chmod(0o777)
    with pytest.raises(ConfigError, match=rf"^{public} may be written by everybody \(mode 0777\); expected settings and"):
        use()
    public.chmod(0o1777)
    assert use()
    os.chown(public / "l", ANOTHER, 0, follow_symlinks=False)
    with pytest.raises(ConfigError, match=rf"^{public}/l belongs to the user id {ANOTHER}"):
        use()
    if "own settings" in kind:
        assert safe_folders(environ, WE) == ()


@pytest.mark.parametrize("kind", ["settings", "template"])
def test_a_folder_of_the_project_on_the_way_counts_though_it_is_no_link(
    tmp_path: Path, environ: dict[str, str], kind: str
) -> None:
    link = tmp_path / ("hpcdeploy.toml" if kind == "settings" else TEMPLATE)
    target = written(tmp_path / "open/inner" / link.name)
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(target)

    def use() -> object:
        return every_template(tmp_path) if kind == "template" else load_project(tmp_path, environ)

    assert use()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(ConfigError, match=rf"^{tmp_path}/open may be written by everybody"):
        use()


def test_links_that_lead_to_each_other_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b/x")
    (tmp_path / "b").symlink_to("a/y")
    assert set(ownership.on_the_way(tmp_path / "a", tmp_path)) <= {tmp_path, tmp_path / "a", tmp_path / "b"}


def test_a_link_to_a_project_says_nothing_of_the_folders_above_it(tmp_path: Path, environ: dict[str, str]) -> None:
    project = written(tmp_path / "team/project/hpcdeploy.toml", "[image]\n").parent
    project.parent.chmod(0o777)
    (tmp_path / "link").symlink_to(project)
    for folder in (project, tmp_path / "link"):
        assert load_project(folder, environ).images


def test_others_files_that_hold_no_settings_are_nobodys_business(tmp_path: Path, environ: dict[str, str]) -> None:
    written(tmp_path / "pyproject.toml", '[project]\nname = "x"\ndependencies = ["hpcdeploy"]\n', owner=ANOTHER)
    assert load_project(tmp_path, environ, optional=True).file is None


@pytest.mark.parametrize("name", ["hpcdeploy.toml", "pixi.toml"])
def test_a_pipe_in_the_place_of_settings_is_not_waited_for(tmp_path: Path, environ: dict[str, str], name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(ConfigError, match="it is a named pipe; expected a regular file"):
        load_project(tmp_path, environ)


TEMPLATE = "htcondor_templates/remove.sh"


def template_of_another(root: Path) -> Path:
    return written(root / TEMPLATE, "echo no\n", owner=ANOTHER)


def template_for_all(root: Path) -> Path:
    return written(root / TEMPLATE, "echo no\n", mode=0o666)


def template_folder_of_another(root: Path) -> Path:
    os.chown(written(root / TEMPLATE, "echo no\n").parent, ANOTHER, ANOTHER)
    return (root / TEMPLATE).parent


def template_folder_for_all(root: Path) -> Path:
    written(root / TEMPLATE, "echo no\n").parent.chmod(0o777)
    return (root / TEMPLATE).parent


def template_folder_elsewhere(root: Path) -> Path:
    (root / "htcondor_templates").symlink_to(written(root / "other/remove.sh", owner=ANOTHER).parent)
    return root / TEMPLATE


@pytest.mark.parametrize(
    "plant",
    [
        template_of_another,
        template_for_all,
        template_folder_of_another,
        template_folder_for_all,
        template_folder_elsewhere,
    ],
)
def test_a_template_that_another_could_have_written_is_neither_rendered_nor_listed(
    tmp_path: Path, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    refused_path = plant(tmp_path)
    for use in (
        lambda: render(TEMPLATE, {"version": ""}, overrides=tmp_path),
        lambda: every_template(tmp_path),
    ):
        with pytest.raises(ConfigError) as refused:
            use()
        assert str(refused.value).startswith(f"{refused_path} ")
    monkeypatch.setenv("HPCDEPLOY_SAFE_DIRECTORY", str(tmp_path))
    assert every_template(tmp_path)
    render(TEMPLATE, {"version": ""}, overrides=tmp_path)


def test_templates_where_no_project_is_are_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o1777)
    written(tmp_path / TEMPLATE, "echo no\n", owner=ANOTHER)
    with pytest.raises(ConfigError, match=f"belongs to the user id {ANOTHER}"):
        render(TEMPLATE, {}, overrides=tmp_path)


def test_a_command_that_finds_another_users_settings_above_ends_with_one_message(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    path = toml_of_another(tmp_path)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home")}
    words = [COMMAND, "generate"]
    done = subprocess.run(words, cwd=work, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {path} belongs to the user id {ANOTHER}, not to root; expected settings and")
    assert done.stderr.count("\n") == 1
