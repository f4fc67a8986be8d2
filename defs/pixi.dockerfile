# syntax=docker/dockerfile:1
[# A Pixi environment for Docker. Values: see hpcdeploy/definition/pixi_dockerfile.py, which quotes all of them. #]
# [= name =]: a Pixi environment in two stages, made by hpcdeploy [= version =]
[% for name, value in arguments %]
ARG [= name =]=[= value =]
[% endfor %]

FROM [= from_platform =][= build =] AS build
[% for name, _ in arguments %]
ARG [= name =]
[% endfor %]
WORKDIR /app
[% for words in needed %]
COPY [= words =]
[% endfor %]
[% for words in sourced %]
COPY [= words =]
[% endfor %]
[% for words in own %]
COPY [= words =]
[% endfor %]
[% if cuda %]
# With this variable Pixi assumes that the build machine has a GPU driver.
ENV CONDA_OVERRIDE_CUDA=$CUDA_VERSION
[% endif %]
[% if overrides %]
# With these variables Pixi assumes that the build machine has the virtual packages for which the environment is locked.
[% endif %]
[% for pair in overrides %]
ENV [= pair =]
[% endfor %]
RUN [= install_mounts =][= install_variables =]pixi install --locked --environment "$ENVIRONMENT"[% if platform %] --platform [= platform =][% endif %]

RUN for file in .gitignore .condapackageignore; do \
        [ -e ".pixi/$file" ] || printf '*\n' > ".pixi/$file"; \
    done
RUN echo '#!/bin/bash' > entrypoint.sh && \
    pixi shell-hook --environment "$ENVIRONMENT"[% if platform %] --as-is[% endif %] -s bash >> entrypoint.sh && \
    echo 'exec "$@"' >> entrypoint.sh

FROM [= from_platform =][= final =] AS final
[% for name, _ in arguments %]
ARG [= name =]
[% endfor %]
WORKDIR /app
[% if editable_workspace %]
# The workspace itself is an editable package, so all of it is copied.
COPY --from=build /app /app
[% else %]
COPY --from=build /app/.pixi/envs/$ENVIRONMENT /app/.pixi/envs/$ENVIRONMENT
# If these two files did not exist, 'pixi run' would try to create them, but the user of a container may not write there.
COPY --from=build /app/.pixi/.gitignore /app/.pixi/.condapackageignore /app/.pixi/
[% for words in kept %]
COPY --from=build [= words =]
[% endfor %]
[% endif %]
COPY --from=build --chmod=0755 /app/entrypoint.sh /app/entrypoint.sh
[% for words in files %]
COPY [= words =]
[% endfor %]
[% if bind_points %]
RUN [= bind_points =]
[% endif %]
[% if cuda %]
ENV CONDA_OVERRIDE_CUDA=$CUDA_VERSION
[% endif %]
[% for pair in environment %]
ENV [= pair =]
[% endfor %]
[% for pair in labels %]
LABEL [= pair =]
[% endfor %]
[% for step in setup %]
RUN [= step.mounts =][= step.words =]
[% endfor %]
[% for port in ports %]
EXPOSE [= port =]
[% endfor %]
ENTRYPOINT ["/app/entrypoint.sh"]
CMD [= command =]
