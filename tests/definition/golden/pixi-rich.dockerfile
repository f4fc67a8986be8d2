# syntax=docker/dockerfile:1
# rich: a Pixi environment in two stages, made by hpcdeploy VERSION
ARG CUDA_VERSION="12.9"
ARG ENVIRONMENT="default"

FROM ghcr.io/prefix-dev/pixi:noble AS build
ARG CUDA_VERSION
ARG ENVIRONMENT
WORKDIR /app
COPY pixi.toml /app/pixi.toml
COPY pixi.lock /app/pixi.lock
# With this variable Pixi assumes that the build machine has a GPU driver.
ENV CONDA_OVERRIDE_CUDA=$CUDA_VERSION
# With these variables Pixi assumes that the build machine has the virtual packages for which the environment is locked.
ENV CONDA_OVERRIDE_CUDA_ARCH="8.0"
ENV CONDA_OVERRIDE_ARCHSPEC="x86_64_v3"
ENV CONDA_OVERRIDE_GLIBC="2.34"
RUN pixi install --locked --environment "$ENVIRONMENT" --platform a100
RUN for file in .gitignore .condapackageignore; do \
        [ -e ".pixi/$file" ] || printf '*\n' > ".pixi/$file"; \
    done
RUN echo '#!/bin/bash' > entrypoint.sh && \
    pixi shell-hook --environment "$ENVIRONMENT" --as-is -s bash >> entrypoint.sh && \
    echo 'exec "$@"' >> entrypoint.sh

FROM ghcr.io/prefix-dev/pixi:noble AS final
ARG CUDA_VERSION
ARG ENVIRONMENT
WORKDIR /app
COPY --from=build /app/.pixi/envs/$ENVIRONMENT /app/.pixi/envs/$ENVIRONMENT
# If these two files did not exist, 'pixi run' would try to create them, but the user of a container may not write there.
COPY --from=build /app/.pixi/.gitignore /app/.pixi/.condapackageignore /app/.pixi/
COPY --from=build /app/pixi.toml /app/pixi.toml
COPY --from=build /app/pixi.lock /app/pixi.lock
COPY --from=build --chmod=0755 /app/entrypoint.sh /app/entrypoint.sh
ENV CONDA_OVERRIDE_CUDA=$CUDA_VERSION
ENTRYPOINT ["/app/entrypoint.sh"]
CMD ["/bin/bash"]
