# syntax=docker/dockerfile:1
# slim: a Pixi environment in two stages, made by hpcdeploy VERSION
ARG ENVIRONMENT="prod"
ARG COLOUR="dark blue"

FROM ghcr.io/prefix-dev/pixi:0.60.0 AS build
ARG ENVIRONMENT
ARG COLOUR
WORKDIR /app
COPY pyproject.toml /app/pyproject.toml
COPY pixi.lock /app/pixi.lock
RUN pixi install --locked --environment "$ENVIRONMENT"
RUN for file in .gitignore .condapackageignore; do \
        [ -e ".pixi/$file" ] || printf '*\n' > ".pixi/$file"; \
    done
RUN echo '#!/bin/bash' > entrypoint.sh && \
    pixi shell-hook --environment "$ENVIRONMENT" -s bash >> entrypoint.sh && \
    echo 'exec "$@"' >> entrypoint.sh

FROM ubuntu:24.04 AS final
ARG ENVIRONMENT
ARG COLOUR
WORKDIR /app
COPY --from=build /app/.pixi/envs/$ENVIRONMENT /app/.pixi/envs/$ENVIRONMENT
# If these two files did not exist, 'pixi run' would try to create them, but the user of a container may not write there.
COPY --from=build /app/.pixi/.gitignore /app/.pixi/.condapackageignore /app/.pixi/
COPY --from=build /app/pyproject.toml /app/pyproject.toml
COPY --from=build /app/pixi.lock /app/pixi.lock
COPY --from=build --chmod=0755 /app/entrypoint.sh /app/entrypoint.sh
RUN mkdir -p /host-libs
EXPOSE 8000
ENTRYPOINT ["/app/entrypoint.sh"]
CMD ["/bin/bash"]
