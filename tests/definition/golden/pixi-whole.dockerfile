# syntax=docker/dockerfile:1
# whole: a Pixi environment in two stages, made by hpcdeploy VERSION
ARG CUDA_VERSION="12.9"
ARG ENVIRONMENT="gpu"
ARG COLOUR="dark \"blue\" \$x \\"

FROM ghcr.io/prefix-dev/pixi:noble AS build
ARG CUDA_VERSION
ARG ENVIRONMENT
ARG COLOUR
WORKDIR /app
COPY pixi.toml /app/pixi.toml
COPY pixi.lock /app/pixi.lock
COPY scripts/activate.sh /app/scripts/activate.sh
COPY lib/mine /app/lib/mine
COPY other /app/other
# With this variable Pixi assumes that the build machine has a GPU driver.
ENV CONDA_OVERRIDE_CUDA=$CUDA_VERSION
RUN --mount=type=secret,id=TOKEN,target=/run/secrets/TOKEN,required=true TOKEN="$(cat /run/secrets/TOKEN)" pixi install --locked --environment "$ENVIRONMENT"
RUN for file in .gitignore .condapackageignore; do \
        [ -e ".pixi/$file" ] || printf '*\n' > ".pixi/$file"; \
    done
RUN echo '#!/bin/bash' > entrypoint.sh && \
    pixi shell-hook --environment "$ENVIRONMENT" -s bash >> entrypoint.sh && \
    echo 'exec "$@"' >> entrypoint.sh

FROM ubuntu:24.04 AS final
ARG CUDA_VERSION
ARG ENVIRONMENT
ARG COLOUR
WORKDIR /app
COPY --from=build /app/.pixi/envs/$ENVIRONMENT /app/.pixi/envs/$ENVIRONMENT
# If these two files did not exist, 'pixi run' would try to create them, but the user of a container may not write there.
COPY --from=build /app/.pixi/.gitignore /app/.pixi/.condapackageignore /app/.pixi/
COPY --from=build /app/pixi.toml /app/pixi.toml
COPY --from=build /app/pixi.lock /app/pixi.lock
COPY --from=build /app/scripts/activate.sh /app/scripts/activate.sh
COPY --from=build /app/lib/mine /app/lib/mine
COPY --from=build --chmod=0755 /app/entrypoint.sh /app/entrypoint.sh
COPY app /app/src
COPY ["it\\'s [[]1] \\$x.csv", "/opt/my data/d.csv"]
RUN mkdir -p /scratch /host-libs
ENV CONDA_OVERRIDE_CUDA=$CUDA_VERSION
ENV VALUE_0=""
ENV VALUE_1="a b"
ENV VALUE_2="it's \"quoted\""
ENV VALUE_3="\$HOME `id` \\ \$(id)"
ENV VALUE_4="{{ NAME }}"
ENV VALUE_5="# no comment"
ENV VALUE_6="ünïcode ✓"
LABEL org.example.a="b 'c\""
LABEL "odd:key"="\$x"
RUN /app/entrypoint.sh python --version
RUN --mount=type=secret,id=TOKEN,target=/run/secrets/TOKEN,required=true --mount=type=secret,id=KEY,target=/run/secrets/KEY,required=true ["/app/entrypoint.sh", "/bin/bash", "-eo", "pipefail", "-c", "TOKEN=\"$(cat /run/secrets/TOKEN)\"\nexport TOKEN\necho 'gpu' \"$TOKEN\" \\\n    second # line"]
EXPOSE 8000
EXPOSE 8080
ENTRYPOINT ["/app/entrypoint.sh"]
CMD ["uvicorn", "my:app", "", "a b", "it's \"quoted\"", "$HOME `id` \\ $(id)", "line\n%post\nBootstrap: x", "{{ NAME }}", "# no comment", "ünïcode ✓"]
