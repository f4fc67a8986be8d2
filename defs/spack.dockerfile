# syntax=docker/dockerfile:1
[# A Spack environment for Docker. Values: see hpcdeploy/definition/spack_dockerfile.py, which quotes all of them. #]
# [= name =]: a Spack environment in two stages, made by hpcdeploy [= version =]
[% for name, value in arguments %]
ARG [= name =]=[= value =]
[% endfor %]

FROM [= from_platform =][= build =] AS build
[% for name, _ in arguments %]
ARG [= name =]
[% endfor %]
USER root
[% for words in environment_files %]
COPY [= words =]
[% endfor %]
# One RUN, so that no layer keeps the files that 'spack gc' removes.
RUN [= install_mounts =][% filter script %]
[% include "defs/parts/spack_build.def" %]
[% endfilter %]

# At the start of a container, this script activates the environment.
[% if names %]
# The image's variables take precedence over the activation, also with values from 'docker run --env'.
[% endif %]
RUN [% filter script %]
{
    echo '#!/bin/bash'
[% if names %]
    echo 'hpcdeploy_given=$(declare -p [= names =] 2> /dev/null)'
[% endif %]
    echo '. /opt/spack-environment/activate.sh'
[% if names %]
    echo 'eval "$hpcdeploy_given"; unset hpcdeploy_given'
[% endif %]
    echo 'exec "$@"'
} > /opt/spack-environment/entrypoint.sh
chmod 0755 /opt/spack-environment/entrypoint.sh
[% endfilter %]


FROM [= from_platform =][= final =] AS final
[% for name, _ in arguments %]
ARG [= name =]
[% endfor %]
USER root
COPY --from=build /opt/spack-environment /opt/spack-environment
COPY --from=build /opt/software /opt/software
[% for words in kept %]
COPY --from=build [= words =]
[% endfor %]
[% if check_file %]
COPY [= check_file =]
[% endif %]
[% for words in files %]
COPY [= words =]
[% endfor %]
RUN [% filter script %]
[% include "defs/parts/spack_final.def" %]
[% if readable %]
    # Files keep the modes that they have in the build context, which may exclude the user of the container.
    ! command -v find > /dev/null || find [= readable =] ! -perm -a+r -exec chmod a+rX {} +
[% endif %]
[% endfilter %]

[% if bind_points %]
RUN [= bind_points =]
[% endif %]
[% for pair in variables %]
ENV [= pair =]
[% endfor %]
[% for pair in own_labels + labels %]
LABEL [= pair =]
[% endfor %]
[% for step in setup %]
RUN [= step.mounts =][= step.words =]
[% endfor %]
# Check that the environment is active.
RUN [% filter active_script %]
[% include "defs/parts/spack_test.def" %]
[% endfilter %]

[% for port in ports %]
EXPOSE [= port =]
[% endfor %]
[% if user %]
USER [= user.name =]
WORKDIR [= home =]
[% endif %]
ENTRYPOINT [= entrypoint =]
CMD [= command =]
