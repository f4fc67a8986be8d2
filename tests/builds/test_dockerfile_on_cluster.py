"""Dockerfiles built by the real Apptainer: what lands in the image, and what runs, is what Docker's rules say."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdeploy.cluster import Cluster
from hpcdeploy.errors import BuildError
from hpcdeploy.flows.build import build_on
from hpcdeploy.flows.generate import generate
from hpcdeploy.image import BuiltImage, ImageSettings
from hpcdeploy.registry.lookup import image_config
from hpcdeploy.source import DockerfileSource, OciConfig
from hpcdeploy.transport.contract import Transport
from hpcdeploy_lab.state import Lab
from tests.builds.test_build_on_cluster import shell
from tests.sessions import session
from tests.shared import OWN

DOCKERFILE = r"""# syntax=docker/dockerfile:1
ARG TAG=noble
FROM ghcr.io/prefix-dev/pixi:$TAG AS build
ARG ODD="it's \"%post\""
ARG UID=1000
WORKDIR /work
COPY . .
COPY src/*.txt src/sub there/
RUN echo "$ODD" > odd && cd / && LEAK=yes && \
    # a comment
    echo "100% $UID" > /work/percent
RUN pwd > pwd; false; echo "[$LEAK]" >> pwd
ENV A="b c" UID=7 PATH=/opt/own:$PATH
RUN ["sh", "-c", "echo \"$A {{ X }} $UID\" > exec-form"]
RUN <<EOF
#!/usr/bin/env python3
print('''
%post
bootstrap: x
{{ NO }}''', file=open("shebang", "w"))
EOF
RUN cat <<'ONE' > one && cat <<-TWO > two
%literal $A
ONE
	expanded $A
	TWO
SHELL ["/bin/bash", "-c"]
RUN [[ $A == b* ]] && echo bash > shell
RUN mkdir /dist && touch /dist/a.whl /dist/.b.whl /dist/c.txt && ln -s a.whl /dist/l.whl && chmod 0640 /dist/a.whl
COPY --chmod=0750 <<-EOT script.sh
	#!/bin/sh
	echo $A '$UID' \$A
EOT
ADD archive.tar.gz /unpacked
COPY single /new/name
COPY single /existing/
COPY single /existing
COPY empty /made
RUN ln -s single link-file && ln -s /work/src link-folder

FROM build AS middle
RUN echo middle > /middle

FROM ghcr.io/prefix-dev/pixi:noble
COPY --from=build /dist/*.whl /wheels/
COPY --from=middle /work/there /middle /all/
COPY --from=BUILD /work /new/name /existing /unpacked /made /copied/
COPY --from=0 /work /again
COPY --from=build /work/link-file /work/link-folder /links/
COPY --from=ghcr.io/prefix-dev/pixi:noble /etc/debian_version /
WORKDIR /again
WORKDIR rel
ENV GREETING="hi \"there\" \$X it's" UID=3
LABEL org.example.a="b  c"
EXPOSE 80 81/udp
USER 1000:100
ENTRYPOINT ["printf", "<%s>\n", "e 1"]
CMD ["it's", "$HOME", "{{ Z }}", "two\nlines"]
"""

OWN_TMP = """FROM ghcr.io/prefix-dev/pixi:noble AS build
COPY single /tmp/
COPY single /var/tmp/sub/x
RUN (echo "[$(ls -A /tmp)]"; echo "[$(ls -A /var/tmp)]"; stat -c %a /tmp; cat /var/tmp/sub/x) > /said
WORKDIR /tmp/build
RUN pwd > out && echo built > ../product && mkdir ../folder && echo inner > ../folder/.hidden && cp /said /tmp/said

FROM ghcr.io/prefix-dev/pixi:noble
COPY --from=build /tmp/said /said
RUN echo "[$(ls -A /tmp)]" >> /said
COPY --from=build /tmp/product /opt/renamed
COPY --from=build /tmp/build/* /tmp/folder /all/
COPY --from=build /tmp /whole
RUN rm -rf /tmp/* /var/tmp/*
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dockerfile")
    (folder / "src/sub").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "src/a.txt").write_text("a\n")
    (folder / "src/.hidden.txt").write_text("hidden\n")
    (folder / "src/sub/inner").write_text("inner\n")
    (folder / "src/sub/odd ! name's").write_text("odd\n")
    (folder / "src/link").symlink_to("a.txt")
    (folder / "single").write_text("single\n")
    (folder / "single").chmod(0o600)
    (folder / "left-out").write_text("no\n")
    (folder / ".dockerignore").write_text("left-out\nDockerfile\n.dockerignore\n")
    subprocess.run(["tar", "-czf", folder / "archive.tar.gz", "-C", folder / "src", "a.txt"], check=True)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    return folder


@pytest.fixture(scope="module")
def settings() -> ImageSettings:
    return ImageSettings(
        name="dockerfile",
        source=DockerfileSource(),
        test=('[ "$GREETING" != "" ]',),
        labels=(("org.example.own", "1"),),
        build_args=(("UID", "1001"),),
    )


def asked(lab: Lab, reference: str) -> OciConfig:
    return image_config(reference.replace("ghcr.io", lab.registry))


@pytest.fixture(scope="module")
def image(lab: Lab, place: Cluster, transport: Transport, project: Path, settings: ImageSettings) -> BuiltImage:
    definition = generate(settings, project, image_config=lambda reference: asked(lab, reference))
    return build_on(definition, session(place, transport))


def inside_image(image: BuiltImage, transport: Transport, line: str) -> str:
    return shell(transport, 'apptainer exec "$1" sh -c "$2"', image.path, line)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/again/odd", 'it\'s "%post"\n'),
        ("/again/percent", "100% 1001\n"),
        ("/again/pwd", "/work\n[]\n"),
        ("/again/exec-form", "b c {{ X }} 7\n"),
        ("/again/shebang", "\n%post\nbootstrap: x\n{{ NO }}\n"),
        ("/again/one", "%literal $A\n"),
        ("/again/two", "expanded b c\n"),
        ("/again/shell", "bash\n"),
        ("/again/script.sh", "#!/bin/sh\necho b c '7' $A\n"),
        ("/again/there/a.txt", "a\n"),
        ("/again/there/.hidden.txt", "hidden\n"),
        ("/all/inner", "inner\n"),
        ("/all/odd ! name's", "odd\n"),
        ("/all/middle", "middle\n"),
        ("/copied/name", "single\n"),
        ("/links/link-file", "single\n"),
        ("/links/a.txt", "a\n"),
        ("/links/sub/inner", "inner\n"),
        ("/copied/single", "single\n"),
        ("/copied/a.txt", "a\n"),
    ],
)
def test_a_file_holds_what_docker_would_put_there(image: BuiltImage, transport: Transport, path: str, content: str) -> None:
    assert shell(transport, 'apptainer exec "$1" cat "$2"', image.path, path) == content


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ls -A /wheels", ".b.whl\na.whl\nl.whl\n"),
        ("[ -L /wheels/l.whl ] || echo followed", "followed\n"),
        ("stat -c %a /wheels/a.whl /again/script.sh /again/single", "640\n750\n600\n"),
        ("readlink /again/src/link", "a.txt\n"),
        ("ls -Ad /again/empty /again/Dockerfile /again/left-out /.hpcdeploy /debian_version /tmp/helper 2>/dev/null; true",
         "/again/empty\n/debian_version\n"),
        ("ls -A /again/src/sub", "inner\nodd ! name's\n"),
        ("ls -A /again/there", ".hidden.txt\na.txt\ninner\nodd ! name's\n"),
        ('printf %s "$GREETING|$A"', 'hi "there" $X it\'s|'),
        ("[ ! -L /links/link-file ] && echo a file", "a file\n"),
        ("ls -d /again/rel", "/again/rel\n"),
    ],
)  # fmt: skip
def test_the_image_is_as_docker_would_make_it(image: BuiltImage, transport: Transport, line: str, said: str) -> None:
    assert inside_image(image, transport, line) == said


def test_words_follow_the_entry_point_and_replace_the_command(image: BuiltImage, transport: Transport) -> None:
    home = shell(transport, "echo $HOME").strip()
    assert home
    assert shell(transport, 'apptainer run "$1"', image.path) == "<e 1>\n<it's>\n<$HOME>\n<{{ Z }}>\n<two\nlines>\n"
    assert shell(transport, 'apptainer run "$1" "a b"', image.path) == "<e 1>\n<a b>\n"


def test_labels_and_ports_are_known(image: BuiltImage, transport: Transport) -> None:
    said = shell(transport, 'apptainer inspect --labels "$1"', image.path)
    for line in ("org.example.a: b  c", "org.example.own: 1", "io.github.hpcdeploy.ports: 80 81/udp"):
        assert line in said.splitlines()


def quick(lab: Lab, folder: Path, text: str) -> ImageSettings:
    (folder / "Dockerfile").write_text(f"FROM ghcr.io/prefix-dev/pixi:noble\n{text}")
    return ImageSettings(name="quick", source=DockerfileSource())


def test_a_run_that_fails_fails_the_build_and_is_named(
    lab: Lab, place: Cluster, transport: Transport, tmp_path: Path
) -> None:
    settings = quick(lab, tmp_path, "RUN true\nRUN echo all; exit 3\nRUN echo never\n")
    definition = generate(settings, tmp_path, image_config=lambda reference: asked(lab, reference))
    with pytest.raises(BuildError) as raised:
        build_on(definition, session(place, transport))
    assert "line 3: RUN echo all; exit 3" in str(raised.value)


def test_an_argument_that_was_put_into_the_text_stops_a_build_that_changes_it(
    lab: Lab, place: Cluster, transport: Transport, tmp_path: Path
) -> None:
    settings = quick(lab, tmp_path, "ARG PLACE=/here\nWORKDIR $PLACE\n")
    definition = generate(settings, tmp_path, image_config=lambda reference: asked(lab, reference))
    with pytest.raises(BuildError) as raised:
        build_on(replace(definition, build_args=(("PLACE", "/there"),), inputs="0" * 64), session(place, transport))
    assert "made with PLACE=/here" in str(raised.value)


def test_a_stage_has_a_tmp_of_its_own(lab: Lab, place: Cluster, transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "single").write_text("single\n")
    (tmp_path / "Dockerfile").write_text(OWN_TMP)
    definition = generate(
        ImageSettings(name="tmp", source=DockerfileSource()), tmp_path, image_config=lambda reference: asked(lab, reference)
    )
    kept = f"/tmp/kept-{OWN} /var/tmp/kept-{OWN}"
    shell(transport, f"touch {kept}")
    image = build_on(definition, session(place, transport))
    assert shell(transport, f"rm {kept}; ls -d /tmp/single /tmp/product /var/tmp/sub 2>/dev/null; true") == ""
    assert inside_image(
        image, transport, "cat /said; ls -A /all /whole; cat /opt/renamed /all/out; ls -A /.hpcdeploy 2>&1 | grep -c ."
    ) == (
        "[single]\n[sub]\n1777\nsingle\n[]\n"
        "/all:\n.hidden\nout\n\n/whole:\nbuild\nfolder\nproduct\nsaid\nsingle\nbuilt\n/tmp/build\n1\n"
    )


def test_a_stage_without_mount_does_not_use_the_machine_s_tmp(
    lab: Lab, place: Cluster, transport: Transport, tmp_path: Path
) -> None:
    settings = quick(lab, tmp_path, "RUN rm -f /bin/mount /usr/bin/mount\nRUN rm -rf /tmp/*\n")
    shell(transport, f"touch /tmp/kept-{OWN}-unmounted")
    with pytest.raises(BuildError, match=r"cannot mount a private folder over .* /tmp; .* mount\(8\)"):
        build_on(
            generate(settings, tmp_path, image_config=lambda reference: asked(lab, reference)), session(place, transport)
        )
    shell(transport, f"rm /tmp/kept-{OWN}-unmounted")


MOUNTS = """FROM ghcr.io/prefix-dev/pixi:noble AS made
RUN mkdir /dist && echo dist > /dist/file
FROM ghcr.io/prefix-dev/pixi:noble
RUN mkdir -p /var/cache/own && echo kept > /var/cache/own/kept
RUN --mount=type=cache,target=/var/cache/own,sharing=locked \\
    --mount=type=tmpfs,target=/tmp --mount=type=cache,target=/new/folder \\
    ls -A /var/cache/own /tmp /new/folder > /said && touch /var/cache/own/new /tmp/new /new/folder/new
RUN --mount=from=made,source=/dist,target=/mnt/dist --mount=source=single,target=/var/cache/own/kept \\
    cat /mnt/dist/file /var/cache/own/kept >> /said
COPY --link single /linked
"""


def test_a_run_s_mounts_are_there_for_that_run_only(lab: Lab, place: Cluster, transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "single").write_text("single\n")
    (tmp_path / "Dockerfile").write_text(MOUNTS)
    definition = generate(
        ImageSettings(name="mounts", source=DockerfileSource()),
        tmp_path,
        image_config=lambda reference: asked(lab, reference),
    )
    assert any("--link has no effect" in note for note in definition.notes)
    image = build_on(definition, session(place, transport))
    look = (
        "cat /said; ls /var/cache/own; cat /var/cache/own/kept /linked; ls -d /new /mnt/dist /.hpcdeploy 2>&1 | grep -c No"
    )
    assert inside_image(image, transport, look) == (
        "/new/folder:\n\n/tmp:\n\n/var/cache/own:\ndist\nsingle\nkept\nkept\nsingle\n3\n"
    )
