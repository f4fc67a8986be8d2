# syntax=docker/dockerfile:1
# minimal: a Pixi environment in two stages, made by hpcdeploy VERSION
ARG ENVIRONMENT="default"

FROM ghcr.io/prefix-dev/pixi:noble AS build
ARG ENVIRONMENT
WORKDIR /app
COPY pixi.toml /app/pixi.toml
COPY pixi.lock /app/pixi.lock
RUN pixi install --locked --environment "$ENVIRONMENT"
RUN for file in .gitignore .condapackageignore; do \
        [ -e ".pixi/$file" ] || printf '*\n' > ".pixi/$file"; \
    done
RUN echo '#!/bin/bash' > entrypoint.sh && \
    pixi shell-hook --environment "$ENVIRONMENT" -s bash >> entrypoint.sh && \
    echo 'exec "$@"' >> entrypoint.sh

FROM ghcr.io/prefix-dev/pixi:noble AS final
ARG ENVIRONMENT
WORKDIR /app
COPY --from=build /app/.pixi/envs/$ENVIRONMENT /app/.pixi/envs/$ENVIRONMENT
# If these two files did not exist, 'pixi run' would try to create them, but the user of a container may not write there.
COPY --from=build /app/.pixi/.gitignore /app/.pixi/.condapackageignore /app/.pixi/
COPY --from=build /app/pixi.toml /app/pixi.toml
COPY --from=build /app/pixi.lock /app/pixi.lock
COPY --from=build --chmod=0755 /app/entrypoint.sh /app/entrypoint.sh
ENTRYPOINT ["/app/entrypoint.sh"]
CMD ["/bin/bash"]
