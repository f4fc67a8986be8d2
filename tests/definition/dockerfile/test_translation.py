"""What each instruction becomes, and what is refused with its line and reason."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcdeploy.definition.dockerfile.parsing import parse_dockerfile
from hpcdeploy.definition.dockerfile.stages import PlannedStage, Start
from hpcdeploy.definition.dockerfile.translation import translate
from hpcdeploy.errors import ConfigError, DefinitionError, RegistryError
from hpcdeploy.source import ImageConfigOf, OciConfig
from tests.definition.dockerfile.samples import BASE, CONTEXT, plan_of


def final(text: str, base: OciConfig = BASE, args: Mapping[str, str] | None = None) -> PlannedStage:
    return plan_of(f"FROM base\n{text}", base=base, args=args).stages[-1]


def shell(text: str) -> str:
    return "\n".join(line for piece in final(text).shell for line in piece)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("RUN --network=none y", "line 2: RUN has --network=none"),
        ("RUN --security=insecure y", "line 2: RUN has --security=insecure"),
        ("RUN []", "line 2: RUN has an empty array"),
        ("ONBUILD RUN x", "line 2: ONBUILD applies to images that are built from this one"),
        ("USER me\nRUN x", "line 3: RUN runs as the user 'me' of line 2, but a build runs only as root; put 'USER root'"),
        ("COPY --link=yes app /x", "line 2: COPY has --link"),
        ("FROM base AS x\nCOPY --from=later /a /x\nFROM base AS later\nFROM x", "line 3: COPY copies from the stage later,"),
        ("FROM base AS own\nCOPY --from=OWN /a /x", "line 3: COPY copies from the stage OWN, which is not before it"),
        ("COPY --from=1 /a /x", "line 2: COPY copies from the stage 1, which is not before it"),
        ("COPY --from=0 /a /x", "line 2: COPY copies from the stage 0, which is not before it"),
        ("COPY --parents app /x", "line 2: COPY has --parents"),
        ("COPY --exclude=*.py app /x", "line 2: COPY has --exclude"),
        ("COPY --chmod=+x app /x", "line 2: COPY has --chmod=+x"),
        ("COPY missing /x", "line 2: COPY names 'missing', which is not in the build context"),
        ("COPY *.none /x", "line 2: COPY names '*.none'"),
        ("COPY broken /x", "line 2: COPY names 'broken'"),
        ("COPY app", "line 2: COPY requires a source and a destination"),
        ("COPY pixi.* /x", "line 2: COPY has several sources"),
        ("COPY app /.hpcdeploy/x", "line 2: COPY copies into /.hpcdeploy/x"),
        ("WORKDIR /proc/x", "line 2: WORKDIR is /proc/x"),
        ("COPY --from=other:1 / /x", "line 2: COPY copies all of other:1"),
        ("COPY --from=other:1 /tmp/y /x", "line 2: COPY copies /tmp/y from other:1"),
        ("COPY --from=$A /y /x", "line 2: COPY has --from=$A"),
        ("COPY --from=other:1 /{a,b} /x", "line 2: COPY copies '/{a,b}'"),
        ("COPY --from=other:1 /a/** /x", "line 2: COPY copies '/a/**'"),
        ("ADD https://example.org/x /x", "line 2: ADD fetches 'https://example.org/x'"),
        ("ADD git@example.org:a/b.git /x", "line 2: ADD fetches"),
        ("ADD --checksum=sha256:0 app /x", "line 2: ADD has --checksum"),
        ("ADD --chmod=755 data.tar.gz /x", "line 2: ADD unpacks an archive with --chmod"),
        ("ENV A=${B#c}", "line 2: ENV cannot be translated: versions of Docker read '${B#c}' differently"),
        ("ENV a.b=c", "line 2: ENV sets 'a.b'"),
        ("ENV A", "line 2: ENV requires a name and a value"),
        ("ENV A=b c", "line 2: ENV contains 'c' without a '='"),
        ("ARG a-b=c", "line 2: ARG declares 'a-b'"),
        ("ARG A=1\nARG A=2", "line 3: ARG declares A again"),
        ("SHELL bash", "line 2: SHELL requires a JSON array"),
        ('LABEL "a b"=c', "line 2: LABEL cannot be translated: the label 'a b'"),
        ("FROM scratch", "line 2: FROM starts from 'scratch': the image has no /bin/sh"),
        ("FROM scratch AS files\nFROM base\nCOPY --from=files /a /b", "line 2: FROM starts from 'scratch'"),
        ("FROM $NONE", "line 2: FROM starts from '$NONE', which is empty"),
        ("CMD " + "[" * 2000 + "]" * 2000, "line 2: the array [[[["),
        ("LABEL a=" + "${A:-" * 2000 + "}" * 2000, "line 2: LABEL cannot be translated: in '${A:-"),
        ('ENTRYPOINT ["a\\u0000"]', "line 2: the array"),
        ("FROM --platform=linux/arm64 base", "line 2: FROM has --platform=linux/arm64"),
        ("FROM a b", "line 2: FROM must have the form"),
    ],
)  # fmt: skip
def test_what_cannot_be_translated_is_refused_with_line_and_reason(text: str, said: str) -> None:
    with pytest.raises(DefinitionError) as raised:
        plan_of(f"FROM base\n{text}")
    assert str(raised.value).startswith(said)


@pytest.mark.parametrize(
    ("mount", "said"),
    [
        ("type=bind,target=/x,sharing=locked", "but 'sharing' is only valid for mounts of type cache"),
        ("target=/x,mode=0755", "but 'mode' is only valid for mounts of type cache"),
        ("from=$A,target=/x", "; use a literal stage or image for 'from'".removeprefix(", ")),
        ("type=secret,id=x", "which Apptainer does not support"),
        ("type=ssh", "which Apptainer does not support"),
        ("type=cache,from=app,target=/x", "a cache with initial content"),
        ("type=cache,source=/a,target=/x", "a cache with initial content"),
        ("type=cach,target=/x", "where 'cach' is not valid for 'type'"),
        ("type=cache,targt=/x", "with the unknown key 'targt'"),
        ("type=cache,target", "where 'target' has no value"),
        ("type=cache,,target=/x", "with the unknown key ''"),
        ("type=cache,target=/x,sharing=all", "where 'all' is not valid"),
        ("type=cache,target=/x,mode=999", "where '999' is not valid"),
        ("type=cache,target=/x,uid=me", "where 'me' is not valid"),
        ("type=cache,target=/x,ro=yes", "where 'yes' is not valid"),
        ("type=cache,target=/x,size=1g", "but 'size' is only valid for mounts of type tmpfs"),
        ("type=cache,target=/x,required", "but 'required' is only valid for mounts of type secret and ssh"),
        ("type=tmpfs,target=/x,mode=700", "but 'mode' is only valid for mounts of type cache and secret and ssh"),
        ("type=tmpfs,target=/x,sharing=locked", "but 'sharing' is only valid for mounts of type cache"),
        ("type=tmpfs,target=/dev/shm", "but /dev/shm cannot be a mount's target"),
        ("type=tmpfs,target=/", "but / cannot be a mount's target"),
        ("type=cache,target=/base/..", "but / cannot be a mount's target"),
    ],
)
def test_a_mount_that_is_no_empty_folder_is_refused(mount: str, said: str) -> None:
    with pytest.raises(DefinitionError) as raised:
        final(f"RUN --mount={mount} y")
    assert str(raised.value).startswith(f"line 2: RUN has --mount={mount}{'' if said[0] == ';' else ', '}{said}")


@pytest.mark.parametrize(
    ("mount", "said"),
    [
        ("source=missing,target=/x", "names 'missing', which is not in the build context"),
        ("source=*.toml,target=/x", "mounts '*.toml', but a mount must be one file or folder"),
        ("from=tool:1,target=/x", "copies all of tool:1; name the folders that are needed"),
        ("from=tool:1,source=/a*,target=/x", "copies '/a*', a pattern"),
        ("from=tool:1,source=/tmp/a,target=/x", "copies /tmp/a from tool:1"),
        ("from=3,source=/a,target=/x", "copies from the stage 3, which is not before it"),
    ],
)
def test_a_bind_whose_source_cannot_be_had_is_refused(mount: str, said: str) -> None:
    with pytest.raises(DefinitionError) as raised:
        final(f"RUN --mount={mount} y")
    assert str(raised.value).startswith(f"line 2: RUN {said}")


def test_a_bind_is_a_copy_that_is_staged_for_its_run() -> None:
    mounts = "--mount=source=pixi.toml,target=pixi.toml --mount=type=bind,src=app,dst=/app --mount=type=cache,target=/app/c"
    stage = final(f"RUN {mounts} a\nCOPY pixi.lock /x")
    assert [(file.source, file.place) for file in stage.files] == [
        *(("app/own", "0/000/app/own"), ("app/run", "0/000/app/run"), ("app/train.py", "0/000/app/train.py")),
        *(("pixi.toml", "1/000/pixi.toml"), ("pixi.lock", "2/000/pixi.lock")),
    ]
    lines = [line for piece in stage.shell for line in piece]
    run = '( lent "$put"/0/000/app /app emptied \'\' /app/c lent "$put"/1/000/pixi.toml /base/pixi.toml run_0 /bin/sh -c a )'
    assert lines[lines.index(run) + 1 :][:2] == ['rm -rf "$put"/0', 'rm -rf "$put"/1']
    assert lines.index('chmod 0600 "$put"/0/000/app/own') < lines.index(run)


def test_a_bind_of_a_stage_or_an_image_is_taken_from_it() -> None:
    text = "FROM base AS made\nFROM base\nRUN --mount=from=made,source=/dist,target=/d a\n"
    plan = plan_of(text + "RUN --mount=from=uv:1,source=/uv,target=/uv a")
    assert [stage.name for stage in plan.stages] == ["made", "image-1", "stage-1"]
    assert [(name, taken.path, taken.place) for name, taken in plan.stages[-1].taken] == [
        ("made", "/dist", "0/000"),
        ("image-1", "/uv", "1/000"),
    ]
    lines = [line for piece in plan.stages[-1].shell for line in piece]
    assert '( lent "$put"/1/000/uv /uv run_0 /bin/sh -c a )' in lines


MOUNT_WORDS = (
    *(
        "type=cache",
        "type=tmpfs",
        "type=bind",
        "type=",
        "target=/x",
        "dst=x/../y",
        "target=",
        "source=app",
        "src=/",
        "from=x",
    ),
    *("ro", "ro=1", "rw=", "mode=0700", "mode=", "size=1g", "sharing=private", "uid=0", "id=a", "$A", "", '"', "=", "a=b"),
)


@given(st.lists(st.sampled_from(MOUNT_WORDS), max_size=5).map(",".join))
def test_a_mount_is_read_or_refused_with_its_line(mount: str) -> None:
    said = ""
    stage = None
    try:
        stage = final(f"RUN --mount='{mount}' a")
    except DefinitionError as error:
        said = str(error)
    assert (stage is not None) != said.startswith("line 2: RUN ")
    assert stage is None or stage.emptied


def test_a_base_s_own_triggers_are_refused() -> None:
    with pytest.raises(DefinitionError, match="line 1: FROM starts from base, whose ONBUILD instructions"):
        final("RUN x", OciConfig(on_build=("RUN y",)))


def test_a_base_s_own_shell_runs_the_lines() -> None:
    assert "( run_0 bash -c a )" in str(final("RUN a", OciConfig(shell=("bash", "-c"))))


@pytest.mark.parametrize("text", ["RUN a", "# only a comment", "ARG A=1"])
def test_a_file_without_a_stage_is_refused(text: str) -> None:
    with pytest.raises(DefinitionError):
        plan_of(text)


@pytest.mark.parametrize(
    ("text", "entrypoint", "command"),
    [
        ("", ("base",), ("word",)),
        ('CMD ["a", "b"]', ("base",), ("a", "b")),
        ('ENTRYPOINT ["e"]', ("e",), ()),
        ('CMD ["a"]\nENTRYPOINT ["e"]', ("e",), ("a",)),
        ('ENTRYPOINT ["e"]\nCMD ["a"]', ("e",), ("a",)),
        ("ENTRYPOINT e $X", ("/bin/sh", "-c", "e $X"), ()),
        ("CMD a 'b'", ("base",), ("/bin/sh", "-c", "a 'b'")),
        ('SHELL ["/bin/bash", "-c"]\nCMD a', ("base",), ("/bin/bash", "-c", "a")),
        ("ENTRYPOINT []", (), ()),
        ('ENTRYPOINT ["e"]\nCMD []', ("e",), ()),
    ],
)
def test_entry_point_and_command_follow_docker_s_rules(
    text: str, entrypoint: tuple[str, ...], command: tuple[str, ...]
) -> None:
    base = OciConfig(entrypoint=("base",), cmd=("word",), workdir="/w")
    assert final(text, base).start == Start(entrypoint=entrypoint, command=command, workdir="/w")


def test_an_entry_point_drops_the_command_of_the_stage_under_it() -> None:
    [stage] = plan_of('FROM base AS a\nCMD ["x"]\nFROM a\nENTRYPOINT ["e"]').stages
    assert stage.start == Start(entrypoint=("e",), command=(), workdir="/base")


def test_folders_follow_each_other() -> None:
    assert final("WORKDIR a\nWORKDIR ../b\nWORKDIR /c\nWORKDIR $FROM_BASE").start.workdir == "/c/yes"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("RUN a 'b' $X", "( run_0 /bin/sh -c 'a '\"'\"'b'\"'\"' $X' )"),
        ('RUN ["a", "$X"]', "( run_0 a '$X' )"),
        ('SHELL ["bash", "-c"]\nRUN a', "( run_0 bash -c a )"),
        ("ENV A=b\nRUN a", 'run_1() { run_0 A=b "$@"; }'),
        ("ENV A=b\nENV A=$A-c\nRUN a", 'run_2() { run_1 A=b-c "$@"; }'),
        ("ENV PATH=/own:$PATH\nRUN a", 'run_1() { run_0 PATH=/own:/usr/bin:/bin "$@"; }'),
        ("RUN echo {{ X }}", "( run_0 /bin/sh -c 'echo {''{ X }}' )"),
        ("USER root\nRUN a", "( run_0 /bin/sh -c a )"),
        ("USER 0:0\nRUN --network=default a", "( run_0 /bin/sh -c a )"),
        ("COPY pixi.toml pixi.lock ./", 'put \'\' /base/ "$put"/0/000/pixi.toml "$put"/0/001/pixi.lock'),
        ("COPY there /x", "chmod 0600 \"$put\"/0/000/there/own"),
        ("COPY app /x", 'ln -s train.py "$put"/0/000/app/link'),
        ("COPY app /x", 'chmod 0700 "$put"/0/000/app/empty'),
        ("COPY --chmod=u=rwX,go=rX app /x/", 'put u=rwX,go=rX /x/ "$put"/0/000/app'),
        ('COPY ["app/run", "/a b"]', "put '' '/a b' \"$put\"/0/000/run"),
        ("ADD data.tar.gz /x", 'unpack /x "$put"/0/000/data.tar.gz'),
        ("COPY --link data.tar.gz /x", "put '' /x \"$put\"/0/000/data.tar.gz"),
        ("ADD --link=TRUE app/run /x", "put '' /x \"$put\"/0/000/run"),
        ("RUN --mount=type=cache,ro,target=/c a", "( emptied '' /c run_0 /bin/sh -c a )"),
        ("RUN --mount=type=Cache,dst=c,mode=0700,uid=0,sharing=Locked a", "( emptied 0700 /base/c run_0 /bin/sh -c a )"),
        ("RUN --mount=type=tmpfs,dst=/a/b --mount=TYPE=cache,DST=/a [\"x\"]", "( emptied '' /a emptied '' /a/b run_0 x )"),
        ("ARG K=tmpfs\nENV D=/d\nRUN --mount=type=$K,target=${D}/x,size=1.5g [\"a\"]", "( emptied '' /d/x run_2 a )"),
        ('RUN --mount=\'type=tmpfs,"target=/a,b"\' a', "( emptied '' /a,b run_0 /bin/sh -c a )"),
        ("RUN --mount=type=cache,target=/c <<EOF\n#!/bin/x\nEOF", '( emptied \'\' /c run_0 "$private"/EOF )'),
        ("COPY data.tar.gz /x", "put '' /x \"$put\"/0/000/data.tar.gz"),
    ],
)  # fmt: skip
def test_an_instruction_becomes_this_line_of_the_shell(text: str, line: str) -> None:
    assert line in shell(text).splitlines()


def test_a_here_document_becomes_a_script_or_the_shell_s_text() -> None:
    assert "        '%x'" not in shell("RUN <<EOF\n%x\nEOF")
    assert "    '%x' \\" in shell("RUN <<EOF\n%x\nEOF").splitlines()
    assert '( run_0 /bin/sh -c "$script" )' in shell("RUN <<EOF\n%x\nEOF").splitlines()
    assert '( run_0 "$private"/EOF )' in shell("RUN <<EOF\n#!/bin/x\nEOF").splitlines()
    assert "    'cat <<X' \\" in shell("RUN cat <<X\na\nX").splitlines()


def test_an_argument_stays_one_and_what_was_put_into_the_text_is_checked() -> None:
    stage = final('ARG A=1\nARG B\nARG C=" x"\nARG D=${A}2\nRUN echo $A', args={"B": "given"})
    assert stage.arguments == (("A", "1"), ("B", "given"), ("D", "12"))
    lines = [line for piece in stage.shell for line in piece]
    assert 'same A "$arg_A" 1' in lines
    assert 'same B "$arg_B" given' not in lines
    assert "arg_C=' x'" in lines


def test_a_variable_of_the_image_wins_over_an_argument() -> None:
    stage = final("ENV A=env\nARG A=arg\nLABEL l=$A")
    assert stage.labels == (("l", "env"),)
    assert not [line for piece in stage.shell for line in piece if "A=$arg_A" in line]


def test_an_argument_without_value_is_known_and_may_be_given() -> None:
    assert plan_of("FROM base\nARG A").known == (("A", ""),)
    assert plan_of("FROM base\nARG A").stages[-1].arguments == ()


def test_arguments_of_both_scopes() -> None:
    text = "ARG V=1\nARG W=2\nFROM base:$V\nARG W\nLABEL v=$V w=$W"
    assert plan_of(text).stages[-1].labels == (("v", ""), ("w", "2"))
    assert plan_of(text, args={"V": "9"}).stages[-1].base == "base:9"
    assert plan_of("FROM base\nARG TARGETARCH\nLABEL a=$TARGETARCH b=$TARGETOS").stages[-1].labels == (
        ("a", "amd64"),
        ("b", ""),
    )


def test_a_proxy_needs_no_declaration() -> None:
    assert final("RUN a", args={"HTTP_PROXY": "http://p:1"}).arguments == (("HTTP_PROXY", "http://p:1"),)


def test_only_stages_that_the_target_needs_are_looked_at() -> None:
    never = "FROM base AS never\nRUN --mount=type=ssh y\nFROM scratch AS empty\nFROM --platform=linux/arm64 base AS other\n"
    text = f"FROM base AS a\nRUN x\n{never}FROM base AS b\nCOPY --from=A /x /y"
    assert [stage.name for stage in plan_of(text).stages] == ["a", "b"]
    assert [stage.name for stage in plan_of(text, target="a").stages] == ["a"]
    with pytest.raises(DefinitionError, match="there is no stage 'c' to build; named stages: a, never, empty, other, b"):
        plan_of(text, target="c")


def test_a_stage_on_a_stage_does_its_instructions_again_and_says_so() -> None:
    plan = plan_of("FROM base AS a\nENV A=1\nARG B=2\nFROM a\nRUN echo $A")
    [stage] = plan.stages
    assert stage.environment == (*BASE.env, ("A", "1"))
    assert "starts from the stage a" in plan.notes[0]


def test_a_stage_or_an_image_is_taken_from_and_the_base_is_pinned() -> None:
    plan = plan_of("FROM reg.example.org:5000/base:1 AS a\nFROM base\nCOPY --from=0 /x /y\nCOPY --from=tool:1 /x /z",
                   base=OciConfig(digest="sha256:" + "a" * 64))  # fmt: skip
    assert [stage.name for stage in plan.stages] == ["a", "image-1", "stage-1"]
    assert plan.stages[0].base == "reg.example.org:5000/base@sha256:" + "a" * 64
    assert [(name, taken.path) for name, taken in plan.stages[-1].taken] == [("a", "/x"), ("image-1", "/x")]


def test_what_is_not_kept_is_said() -> None:
    notes = plan_of("FROM base\nUSER me\nVOLUME /d\nSTOPSIGNAL 9\nHEALTHCHECK NONE\nCOPY --chown=a:b app /x").notes
    assert [note.split(" has no effect")[0] for note in notes] == [
        "line 3: VOLUME", "line 4: STOPSIGNAL", "line 5: HEALTHCHECK", "--chown", "USER me",
    ]  # fmt: skip


def test_a_link_of_copies_is_dropped_and_said_once() -> None:
    notes = plan_of("FROM base\nCOPY --link app /x\nADD --link pixi.toml /y\nCOPY --link=false app /z").notes
    assert [note.partition(",")[0] for note in notes] == ["--link has no effect"]


@pytest.mark.parametrize("target", ["/tmp", "/var/tmp/x"])
def test_an_empty_folder_in_tmp_is_one_of_the_stage_s_own(target: str) -> None:
    stage = final(f"RUN --mount=type=tmpfs,target={target} a")
    assert (stage.temporary, stage.emptied) == (True, True)


def failing(known: str, error: Exception) -> ImageConfigOf:
    def config(reference: str) -> OciConfig:
        if reference != known:
            raise error
        return BASE

    return config


@pytest.mark.parametrize(
    ("text", "error", "kind", "said"),
    [
        (
            "FROM base AS one\nFROM base\nCOPY --from=assets /a /b",
            RegistryError("docker.io has no library/assets."),
            RegistryError,
            (
                "line 3: COPY copies from assets: docker.io has no library/assets; "
                "'assets' is not an earlier stage either (one);"
            ),
        ),
        (
            "FROM assets",
            RegistryError("none"),
            RegistryError,
            "line 1: FROM starts from assets: none; 'assets' is not an earlier stage",
        ),
        ("FROM me/assets:1", RegistryError("none"), RegistryError, "line 1: FROM starts from me/assets:1: none"),
        (
            "FROM base\nCOPY --from=Ctx /a /b",
            ConfigError("capital letters"),
            DefinitionError,
            "line 2: COPY copies from Ctx: capital",
        ),
    ],
)
def test_a_name_that_is_no_stage_and_no_image_may_be_a_named_context(
    text: str, error: Exception, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind) as raised:
        translate(parse_dockerfile(text), context=CONTEXT, image_config=failing("base", error))
    assert str(raised.value).startswith(said)
    assert ("named context" in str(raised.value)) == ("me/" not in text)


def test_half_a_pair_of_surrogates_is_what_go_makes_of_it() -> None:
    assert final('CMD ["\\ud800x", "\\ud83d\\ude00"]').start.command == ("\ufffdx", "\U0001f600")


def test_ports_become_a_label() -> None:
    assert final("EXPOSE 80\nEXPOSE 81/udp").labels == (("io.github.hpcdeploy.ports", "80 81/udp"),)


@pytest.mark.parametrize(
    "text",
    [
        "RUN rm -rf /var/lib/apt/lists/* /tmp/*",
        "RUN cat <<EOF\n/var/tmp/x\nEOF",
        "COPY app /tmp",
        "WORKDIR /tmp/build",
        "ENV TMPDIR=/tmp",
    ],
)
def test_a_tmp_of_the_stage_s_own_is_mounted_before_the_first_instruction_that_may_use_it(text: str) -> None:
    plan = plan_of(f"FROM base\nRUN install mount\n{text}\nRUN ls /tmp")
    assert plan.stages[-1].temporary
    lines = [line for piece in plan.stages[-1].shell for line in piece]
    assert lines.count("own_temporary") == 1
    assert lines.index("( run_0 /bin/sh -c 'install mount' )") < lines.index("own_temporary") < len(lines) - 1
    assert any(
        note.startswith("lines 3, ") and "/tmp and /var/tmp are private folders of the build" in note for note in plan.notes
    )


@pytest.mark.parametrize("text", ["RUN ls /opt/tmp /tmpfs ./tmp", "COPY app /tmpfs", "WORKDIR /srv/tmp"])
def test_other_folders_of_that_name_need_none(text: str) -> None:
    plan = plan_of(f"FROM base\n{text}")
    assert not plan.stages[-1].temporary
    assert not plan.notes


def test_what_a_later_stage_takes_from_tmp_is_put_aside_while_it_is_there() -> None:
    plan = plan_of("FROM base AS build\nRUN make\nFROM base\nCOPY --from=build /tmp/a /opt/b\nCOPY --from=build /x /y")
    build, image = plan.stages
    assert build.given == ("/tmp/a",)
    assert "put '' /opt/b \"$put\"/0/000/given/*/a" in [line for piece in image.shell for line in piece]


def test_a_working_folder_in_tmp_is_not_where_a_container_begins() -> None:
    assert any("WORKDIR /tmp/x is not in the image" in note for note in plan_of("FROM base\nWORKDIR /tmp/x").notes)
    assert not any("WORKDIR /tmp is" in note for note in plan_of("FROM base\nWORKDIR /tmp").notes)


def test_a_base_image_s_own_user_is_named_as_such() -> None:
    with pytest.raises(
        DefinitionError,
        match="line 2: RUN runs as the base image's user 'mambauser', but a build runs only as root; "
        "put 'USER root' before it",
    ):
        final("RUN x", OciConfig(user="mambauser"))
    assert "run_0 /bin/sh -c x" in str(final("USER root\nRUN x", OciConfig(user="mambauser")).shell)


@pytest.mark.parametrize(
    "text", ["echo x >> ~/.bashrc", "ls ${HOME}/x", 'cp x "$HOME"', "ls /root/.local", "ls /opt/root ~other"]
)
def test_what_is_put_into_root_s_home_is_pointed_out(text: str) -> None:
    notes = plan_of(f"FROM base\nRUN {text}").notes
    assert any("line 2: RUN names the home folder" in note for note in notes) is (text != "ls /opt/root ~other")
