"""Dockerfiles that are translated in tests, and what is known around them."""

from collections.abc import Mapping

from hpcdeploy.definition.dockerfile.context import Context, Entry
from hpcdeploy.definition.dockerfile.parsing import parse_dockerfile
from hpcdeploy.definition.dockerfile.stages import Plan
from hpcdeploy.definition.dockerfile.translation import translate
from hpcdeploy.source import OciConfig

BASE = OciConfig(env=(("PATH", "/usr/bin:/bin"), ("FROM_BASE", "yes")), cmd=("/bin/bash",), workdir="/base")

CONTEXT = Context(
    entries={
        "pixi.toml": Entry(kind="file"),
        "pixi.lock": Entry(kind="file"),
        "app": Entry(kind="folder", mode=0o755),
        "app/train.py": Entry(kind="file"),
        "app/run": Entry(kind="file", mode=0o755),
        "app/own": Entry(kind="file", mode=0o600),
        "app/link": Entry(kind="link", target="train.py"),
        "app/empty": Entry(kind="folder", mode=0o700),
        "my_project": Entry(kind="folder", mode=0o755),
        "my_project/__init__.py": Entry(kind="file"),
        "data.tar.gz": Entry(kind="file"),
        "there": Entry(kind="link", target="app"),
        "broken": Entry(kind="link", target="nothing"),
    },
    is_archive=lambda path: path.endswith(".tar.gz"),
)

LESSON = """\
ARG CUDA_VERSION="12"
ARG ENVIRONMENT="gpu"

FROM ghcr.io/prefix-dev/pixi:noble AS build
ARG CUDA_VERSION
ARG ENVIRONMENT

WORKDIR /app
COPY . .
ENV CONDA_OVERRIDE_CUDA=$CUDA_VERSION
RUN pixi install --locked --environment $ENVIRONMENT
RUN echo "#!/bin/bash" > /app/entrypoint.sh && \\
    pixi shell-hook --environment $ENVIRONMENT -s bash >> /app/entrypoint.sh && \\
    echo 'exec "$@"' >> /app/entrypoint.sh

FROM ghcr.io/prefix-dev/pixi:noble AS final
ARG ENVIRONMENT

WORKDIR /app
COPY --from=build /app/.pixi/envs/$ENVIRONMENT /app/.pixi/envs/$ENVIRONMENT
COPY --from=build /app/pixi.toml /app/pixi.toml
COPY --from=build /app/.pixi/.gitignore /app/.pixi/.gitignore
COPY --from=build --chmod=0755 /app/entrypoint.sh /app/entrypoint.sh
COPY ./app /app/src

EXPOSE 8000
ENTRYPOINT [ "/app/entrypoint.sh" ]
"""
"""Written after the two-stage Dockerfiles of Pixi's lessons, with arguments of both scopes."""

SERVICE = """\
FROM ghcr.io/prefix-dev/pixi:0.41.4 AS build
WORKDIR /app
COPY . .
RUN pixi install --locked -e prod
RUN pixi shell-hook -e prod -s bash > /shell-hook
RUN cat /shell-hook >> /app/entrypoint.sh
FROM ubuntu:24.04 AS production
WORKDIR /app
COPY --from=build /app/.pixi/envs/prod /app/.pixi/envs/prod
COPY --from=build --chmod=0755 /app/entrypoint.sh /app/entrypoint.sh
COPY ./my_project /app/my_project
EXPOSE 8000
ENTRYPOINT [ "/app/entrypoint.sh" ]
CMD [ "uvicorn", "my_project:app", "--host", "0.0.0.0" ]
"""

ODD = r"""ARG TAG=1
FROM base:$TAG AS one
ARG ODD=" it's "
ARG GIVEN
ENV A="b c" UID=7
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN echo "{{ X }}" '%post' | \
    # left out
    cat
RUN ["printf", "%s\n", "it's"]
RUN <<EOF
%post
bootstrap: {{{ X }}
EOF
RUN <<'PY'
#!/usr/bin/env python3
print("x")
PY
COPY <<-TEXT <<"RAW" /made/
	$A \$A
TEXT
$A
RAW
ADD data.tar.gz app/*.py /unpacked/
FROM one
COPY --from=one /dist/*.whl /wheels/
COPY --from=tool:2 /bin/tool /bin/
LABEL a="b" org.c='d e'
MAINTAINER somebody <else>
VOLUME /data
STOPSIGNAL SIGINT
HEALTHCHECK CMD true
USER nobody
CMD echo "$A" it\'s
"""

TEMPORARY = """\
FROM base AS build
RUN apt-get install make
COPY pixi.* /tmp/
RUN make -C /tmp && rm -rf /var/tmp/*
FROM base AS quiet
RUN ./make
FROM base
COPY --from=build /tmp/out/*.so /tmp/tool /opt/
COPY --from=quiet /var/tmp/made /opt/renamed
"""

CACHES = """\
FROM base
ARG CACHE=/root/.cache
ENV UV_LINK_MODE=copy
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked --mount=type=cache,target=/var/lib/apt,sharing=locked \\
    apt-get update && apt-get install -y git
RUN --mount=type=cache,target=$CACHE/uv,mode=0700 --mount=type=tmpfs,target=/tmp uv sync --locked
WORKDIR /work
RUN --mount=from=ghcr.io/astral-sh/uv:0.9,source=/uv,target=/bin/uv \\
    --mount=type=bind,source=pixi.toml,target=pixi.toml \\
    uv sync --no-install-project
COPY --link app /app
"""
"""As the documentations of Docker and uv write it."""

SAMPLES = {
    "dockerfile-lesson": LESSON,
    "dockerfile-service": SERVICE,
    "dockerfile-odd": ODD,
    "dockerfile-temporary": TEMPORARY,
    "dockerfile-caches": CACHES,
}


def plan_of(text: str, *, base: OciConfig = BASE, args: Mapping[str, str] | None = None, target: str = "") -> Plan:
    return translate(
        parse_dockerfile(text), context=CONTEXT, image_config=lambda reference: base, build_args=args, target=target
    )
