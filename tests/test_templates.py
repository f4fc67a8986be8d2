import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

from hpcdeploy.errors import ConfigError, TemplateError
from hpcdeploy.templates import render, shipped_root
from tests.special_files import SPECIAL


def write(folder: Path, text: str) -> Path:
    (folder / "slurm_templates").mkdir()
    (folder / "slurm_templates" / "job.sh").write_text(text)
    return folder


def test_a_template_of_the_projects_own_wins(tmp_path: Path) -> None:
    own = write(tmp_path, "mine: [= name =] {{ STAYS }} <<EOF [[ -n x ]]\n")
    assert render("slurm_templates/job.sh", {"name": "x y"}, overrides=own) == "mine: x y {{ STAYS }} <<EOF [[ -n x ]]\n"


def test_an_undefined_name_is_an_error_with_file_and_line(tmp_path: Path) -> None:
    own = write(tmp_path, "one\ntwo\n[= nobody_knows =]\n")
    with pytest.raises(TemplateError, match=r"job\.sh, line 3: 'nobody_knows' is undefined"):
        render("slurm_templates/job.sh", {}, overrides=own)


def test_a_broken_template_is_an_error_with_file_and_line(tmp_path: Path) -> None:
    own = write(tmp_path, "one\n[% if %]\n")
    with pytest.raises(TemplateError, match=r"job\.sh, line 2"):
        render("slurm_templates/job.sh", {}, overrides=own)


def test_a_missing_template_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match=str(tmp_path)):
        render("slurm_templates/none.sh", {}, overrides=tmp_path)


REACHES = (
    "cycler.__init__.__globals__.os.mkdir(place)",
    "cycler['__init__']['__globals__']['os'].mkdir(place)",
    "(cycler | attr('__init__') | attr('__globals__'))['os'].mkdir(place)",
    "namespace.__init__.__globals__['__builtins__']['open'](place, 'w')",
    "joiner.__init__.__globals__['__builtins__'].__import__('os').mkdir(place)",
    "self.__init__.__globals__['__builtins__']['open'](place, 'w')",
    "self._TemplateReference__context.environment.loader.get_source.__globals__['os'].mkdir(place)",
    "''.__class__.__mro__[1].__subclasses__() | length",
    "[''] | map(attribute='__class__') | join",
    "['', 'a'] | map('attr', '__class__') | join",
    "['', 'a'] | groupby('__class__') | join",
    "['', 'a'] | selectattr('__class__') | join",
    "['', 'a'] | rejectattr('__class__') | join",
    "['', 'a'] | selectattr('__class__', 'equalto', 1) | join",
    "['', 'a'] | sort(attribute='__class__') | join",
    "['', 'a'] | sum('__class__')",
    "['', 'a'] | sum('__class__.__name__', '')",
    "['', 'a'] | unique(attribute='__class__') | join",
    "['', 'a'] | min(attribute='__class__')",
    "['', 'a'] | max(attribute='__class__')",
    "['', 'a'] | join(attribute='__class__')",
    "[some, some] | map(attribute='name.__class__') | join",
    "[some, some] | map(attribute='__dict__') | join",
    "[some, some] | map(attribute='__init__.__globals__') | list",
    "dict.fromkeys(['a'])",
    "dict.__globals__",
    "dict.mro()",
    "'{0.__class__.__mro__}'.format('')",
    "'{x.__class__}'.format_map({'x': ''})",
    "place.format.__globals__",
    "(place | attr('format'))('{0.__class__}').__globals__",
    "range.__globals__",
    "some.__class__",
    "some.__dict__['name']",
    "numbers.append(4)",
    "table.update({'a': 2})",
    "range(100001) | list | length",
)
"""Known ways to the insides of Python, those among them that jinja2 3.1.5 and 3.1.6 closed (its CHANGES.rst)."""


@dataclass(frozen=True)
class Some:
    name: str
    path: tuple[str, ...] = ()

    def method(self) -> str:
        return self.name

    @property
    def derived(self) -> str:
        return self.name


VALUES = {"some": Some("a name"), "numbers": [1, 2, 3], "table": {"a": 1}}


@pytest.mark.parametrize("expression", REACHES)
@pytest.mark.parametrize("form", ["[= {} =]", "[% set x = {} %][= x =]", "[% for x in [{}] %][= x =][% endfor %]"])
def test_a_template_reaches_no_insides_of_python(tmp_path: Path, expression: str, form: str) -> None:
    own, place = write(tmp_path, f"one\n{form.format(expression)}\n"), tmp_path / "made"
    with pytest.raises(TemplateError, match=r"job\.sh, line 2: "):
        render("slurm_templates/job.sh", {**VALUES, "place": str(place)}, overrides=own)
    assert not place.exists()


@pytest.mark.parametrize("attribute", ["__class__", "name.__class__", "__dict__", "__init__"])
def test_what_a_filter_takes_by_the_name_of_an_attribute_is_nothing(tmp_path: Path, attribute: str) -> None:
    own = write(tmp_path, f"[= [some, some] | map(attribute='{attribute}') | list =]")
    assert render("slurm_templates/job.sh", VALUES, overrides=own) == "[Undefined, Undefined]"


def test_filters_take_the_fields_of_values_by_name(tmp_path: Path) -> None:
    text = (
        "[= some | map(attribute='name') | join =] [= some | groupby('name') | map('first') | join =]"
        " [= some | selectattr('name', 'equalto', 'a') | map(attribute='name') | join =]"
        " [= some | sort(attribute='name') | map(attribute='name') | join =] [= some | sum('path', ()) | join =]"
        " [= some | unique(attribute='name') | list | length =] [= (some | max(attribute='name')).name =]"
    )
    values = {"some": [Some("b", ("x",)), Some("a", ("y",)), Some("b")]}
    assert render("slurm_templates/job.sh", values, overrides=write(tmp_path, text)) == "bab ab a abb xy 2 b"


def test_a_table_is_made_by_dict(tmp_path: Path) -> None:
    own = write(tmp_path, "[= dict(table, b=2) =] [= dict([('c', 3)]).c =] [= dict() =]")
    assert render("slurm_templates/job.sh", VALUES, overrides=own) == "{'a': 1, 'b': 2} 3 {}"


def test_a_template_gets_the_fields_of_a_value_and_nothing_that_it_can_do(tmp_path: Path) -> None:
    own = write(tmp_path, "[= some.name =] [= some.path | join =] [= numbers =] [= table.a =] [= some.name.upper() =]")
    values = {**VALUES, "some": Some("x", ("a", "b"))}
    assert render("slurm_templates/job.sh", values, overrides=own) == "x ab [1, 2, 3] 1 X"
    for name in ("method", "derived", "method()"):
        (own / "slurm_templates/job.sh").write_text(f"[= some.{name} =]")
        with pytest.raises(TemplateError, match=r"has no attribute '(method|derived)'"):
            render("slurm_templates/job.sh", values, overrides=own)


@pytest.mark.parametrize(
    "value",
    [Path("/x"), PurePosixPath("/x"), open, os, Some, object(), iter(()), b"", {"a": [(Path("/x"),)]}, Some(open)],  # type: ignore[arg-type]
    ids=["path", "pure", "function", "module", "class", "object", "iterator", "bytes", "inside", "in a field"],
)
def test_no_template_is_given_what_is_no_plain_value(value: object) -> None:
    with pytest.raises(TypeError, match="only accept plain values"):
        render("slurm_templates/job.sh", {"value": value})


@pytest.mark.parametrize(
    "text",
    [
        "one\n[% include 'slurm_templates/job.sh' %]",
        "[% macro m() %][= m() =][% endmacro %][= m() =]",
        "[% for a in [1] %]" * 21 + "[% endfor %]" * 21,
        "[= 1 % 0 =]",
        "[= 'x'.encode('none') =]",
        "[= ['a', 1] | sort =]",
    ],
    ids=["itself", "macro", "loops", "zero", "codec", "sort"],
)
def test_whatever_goes_wrong_in_a_template_is_one_error_of_its_own(tmp_path: Path, text: str) -> None:
    with pytest.raises(TemplateError, match=r"job\.sh"):
        render("slurm_templates/job.sh", {}, overrides=write(tmp_path, text))


def test_what_a_filter_refuses_stays_its_own_error(tmp_path: Path) -> None:
    def refuse(_text: str) -> str:
        raise ConfigError("refused")

    with pytest.raises(ConfigError, match=r"^refused$"):
        render("slurm_templates/job.sh", {}, filters={"word": refuse}, overrides=write(tmp_path, "[= 'a' | word =]"))


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Make a file that is not the project's."""
    file = tmp_path / "outside" / "key"
    file.parent.mkdir()
    file.write_text("PRIVATE KEY")
    return file


@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize("folder", [False, True])
def test_a_template_that_leads_out_of_the_project_is_refused(
    tmp_path: Path, outside: Path, include: bool, folder: bool
) -> None:
    own = tmp_path / "project"
    (own / "slurm_templates").mkdir(parents=True)
    link = own / ("slurm_templates/linked" if folder else "slurm_templates/job.sh")
    link.symlink_to(outside.parent if folder else outside)
    name = "slurm_templates/linked/key" if folder else "slurm_templates/job.sh"
    if include:
        (own / "slurm_templates/after.sh").write_text(f"[% include '{name}' %]")
    with pytest.raises(TemplateError, match=rf"template {own}/{name}, which is {outside}, outside of the project") as told:
        render("slurm_templates/after.sh" if include else name, {}, overrides=own)
    assert "PRIVATE" not in str(told.value)


def test_a_template_may_be_a_link_within_the_project(tmp_path: Path) -> None:
    own = write(tmp_path, "")
    (own / "common.sh").write_text("shared")
    (own / "slurm_templates/job.sh").unlink()
    (own / "slurm_templates/job.sh").symlink_to("../common.sh")
    assert render("slurm_templates/job.sh", {}, overrides=own) == "shared"


def test_no_template_is_above_the_folder_of_the_project(tmp_path: Path, outside: Path) -> None:
    own = tmp_path / "project"
    own.mkdir()
    write(own, f"[% include '../outside/{outside.name}' %]")
    with pytest.raises(TemplateError, match=r"template '\.\./outside/key' is not in"):
        render("slurm_templates/job.sh", {}, overrides=own)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder of shipped templates with other files beside them, as a checkout of hpcdeploy has them."""
    root = tmp_path / "checkout"
    for name in ("pyproject.toml", ".git/config", "defs/.hidden", "defs/.parts/x", "hpcdeploy/git.py", "defs/part.def"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("PRIVATE" if name != "defs/part.def" else "part")
    monkeypatch.setattr("hpcdeploy.templates.shipped_root", lambda: root)
    return root


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        *("pyproject.toml", ".git/config", "./pyproject.toml", "defs/.hidden", "defs/.parts/x", "hpcdeploy/git.py", "defs"),
        *("defs/link", "defs/folder/config"),
    ],
)
@pytest.mark.parametrize("line", ["[% include '{}' %]", "[% import '{}' as x %][= x =]", "[% extends '{}' %]"])
def test_only_the_files_of_template_folders_are_templates(
    tmp_path: Path, checkout: Path, own: bool, name: str, line: str
) -> None:
    (checkout / "defs/link").symlink_to("../pyproject.toml")
    (checkout / "defs/folder").symlink_to("../.git")
    project = checkout if own else tmp_path / "project"
    project.mkdir(exist_ok=True)
    write(project, line.format(name))
    with pytest.raises(TemplateError) as refused:
        render("slurm_templates/job.sh", {}, overrides=project)
    assert "PRIVATE" not in str(refused.value)
    assert f"template '{name}' is not in" in str(refused.value)


def test_a_shipped_template_may_be_a_link_that_an_installer_made(tmp_path: Path, checkout: Path) -> None:
    (tmp_path / "cache/defs").mkdir(parents=True)
    (tmp_path / "cache/defs/linked.def").write_text("installed")
    (checkout / "defs/linked.def").symlink_to(tmp_path / "cache/defs/linked.def")
    (checkout / "defs/same.def").symlink_to("part.def")
    assert render("defs/linked.def", {}) == "installed"
    assert render("defs/same.def", {}) == "part"


@pytest.mark.parametrize("name", ["slurm_templates/job.sh", "slurm_templates"])
def test_no_template_of_a_project_is_a_link_into_gits_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/job.sh").write_text("PRIVATE")
    link = tmp_path / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(tmp_path / (".git" if name == "slurm_templates" else ".git/job.sh"))
    with pytest.raises(TemplateError, match=r"job\.sh, which is .*/\.git/job\.sh, in git's own folder") as refused:
        render("slurm_templates/job.sh", {}, overrides=tmp_path)
    assert "PRIVATE" not in str(refused.value)


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("kind", SPECIAL)
def test_a_template_that_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    file = write(tmp_path, "") / "slurm_templates/job.sh"
    file.unlink()
    reason = kind if kind != "a device" else "which is /dev/null, outside of the project"
    with SPECIAL[kind](file), pytest.raises(TemplateError, match=reason):
        render("slurm_templates/job.sh", {}, overrides=tmp_path)


def test_a_template_of_absurd_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpcdeploy.sandbox.LARGEST_TEXT", 10)
    for text, fits in (("x" * 10, True), ("x" * 11, False)):
        (tmp_path / "slurm_templates").mkdir(exist_ok=True)
        (tmp_path / "slurm_templates/none.sh").write_text(text)
        if fits:
            assert render("slurm_templates/none.sh", {}, overrides=tmp_path) == text
        else:
            with pytest.raises(TemplateError, match=r"none\.sh cannot be read: it has 11 bytes, above the limit"):
                render("slurm_templates/none.sh", {}, overrides=tmp_path)


def test_a_project_replaces_no_file_of_the_library_that_templates_include(tmp_path: Path) -> None:
    own = write(tmp_path, "[% include 'login/state.sh' %]")
    (own / "login").mkdir()
    (own / "login/state.sh").write_text("echo mine")
    expected = (shipped_root() / "login/state.sh").read_text()
    assert render("slurm_templates/job.sh", {}, overrides=own).rstrip() == expected.rstrip() != ""
