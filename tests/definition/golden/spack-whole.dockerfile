# syntax=docker/dockerfile:1
# spack-whole: a Spack environment in two stages, made by hpcdeploy VERSION
ARG COLOUR="dark \"blue\" \$x \\"

FROM docker.io/spack/ubuntu-noble:nightly AS build
ARG COLOUR
USER root
COPY envs/gpu/spack.yaml /opt/spack-environment/spack.yaml
COPY envs/gpu/spack.lock /opt/spack-environment/spack.lock
COPY ["envs/gpu/site files", "/opt/spack-environment/site files"]
COPY configs/common.yaml /opt/configs/common.yaml
COPY hpcdeploy/repos/0/spack_repo/me/own /opt/hpcdeploy/repos/0/spack_repo/me/own
COPY hpcdeploy/recipes/0/package.py /opt/hpcdeploy/recipes/0/package.py
COPY hpcdeploy/recipes/1 /opt/hpcdeploy/recipes/1
# One RUN, so that no layer keeps the files that 'spack gc' removes.
RUN --mount=type=secret,id=CACHE_USER,target=/run/secrets/CACHE_USER,required=true --mount=type=secret,id=CACHE_TOKEN,target=/run/secrets/CACHE_TOKEN,required=true ["/bin/bash", "-euo", "pipefail", "-c", "\
# Temporary files are in this folder, which is not copied into the final stage. In a build by Apptainer, /tmp belongs to the host.
    private=/opt/hpcdeploy\n\
    mkdir -p \"$private/tmp\" /opt/software\n\
    export TMPDIR=\"$private/tmp\"\n\
# In Spack's own images, spack is in /opt/spack, which is not in PATH.
    command -v spack > /dev/null || export PATH=\"${SPACK_ROOT:-/opt/spack}/bin:$PATH\"\n\
    command -v spack > /dev/null || {\n\
        echo \"the base image has no spack: neither in PATH nor in ${SPACK_ROOT:-/opt/spack}\" >&2\n\
        exit 1\n\
    }\n\
    spack --version\n\
    spack repo add /opt/hpcdeploy/repos/0/spack_repo/me/own\n\
# Spack 1 creates a new repository in a folder spack_repo. There the folder of a package must have the name of a Python module.
    spack repo create \"$private/recipes-repo\" tbouvier.patches\n\
    repo=$(dirname \"$(find \"$private/recipes-repo\" -name repo.yaml)\")\n\
    place() {\n\
        case $repo in\n\
            */spack_repo/*) mkdir -p \"$repo/packages\" && cp -R \"$1\" \"$repo/packages/$3\" ;;\n\
            *) mkdir -p \"$repo/packages\" && cp -R \"$1\" \"$repo/packages/$2\" ;;\n\
        esac\n\
    }\n\
    place /opt/hpcdeploy/recipes/0 py-ray py_ray\n\
    place /opt/hpcdeploy/recipes/1 3dtk _3dtk\n\
    spack repo add \"$repo\"\n\
    cd /opt/spack-environment\n\
# These options take precedence over spack.yaml.
    options=(-c config:install_tree:root:/opt/software)\n\
    configured() {\n\
        spack \"${options[@]}\" -e /opt/spack-environment \"$@\"\n\
    }\n\
    configured env view enable /opt/view\n\
    (\n\
        CACHE_USER=$(cat /run/secrets/CACHE_USER)\n\
        export CACHE_USER\n\
        CACHE_TOKEN=$(cat /run/secrets/CACHE_TOKEN)\n\
        export CACHE_TOKEN\n\
    configured install --fail-fast --only-concrete -j 4\n\
    configured buildcache push --update-index my-cache\n\
    )\n\
    configured gc -y\n\
# A view is a link to a folder ._NAME in the same parent folder. The final stage gets the folder and a new link, because copying
# the link would copy the files.
    if [ ! -L /opt/view ]; then\n\
        mkdir -p /opt/._view\n\
        mv /opt/view /opt/._view/view\n\
        ln -s /opt/._view/view /opt/view\n\
    fi\n\
    readlink -f /opt/view > /opt/spack-environment/.view\n\
# Write the changes of the activation as plain exports. The container's shell can read these, and so can the interpreter that
# prepares 'exec', 'shell' and HTCondor's jobs. Spack prints final values, so one activation is sufficient.
    env -i HOME=\"$HOME\" PATH=\"$PATH\" bash --noprofile --norc -c '\n\
        before=$1 hook=$2 after=$3\n\
        shift 3\n\
        env -0 | sort -z > \"$before\"\n\
        spack \"$@\" env activate --sh -d . > \"$hook\" || exit\n\
        . \"$hook\"\n\
        env -0 | sort -z > \"$after\"\n\
        ' activation \"$private/before\" \"$private/hook\" \"$private/after\" \"${options[@]}\"\n\
    [ -s \"$private/after\" ] || { echo \"activation of the environment ended early\" >&2; exit 1; }\n\
    declare -A before=() after=()\n\
    while IFS= read -r -d '' entry; do\n\
        before[${entry%%=*}]=${entry#*=}\n\
    done < \"$private/before\"\n\
    while IFS= read -r -d '' entry; do\n\
        after[${entry%%=*}]=${entry#*=}\n\
    done < \"$private/after\"\n\
# Values are in double quotes, because Apptainer's interpreter (seen with 1.4.5) keeps the backslash of an unquoted \'.
    quoted() {\n\
        local text=${1//\\\\/\\\\\\\\}\n\
        text=${text//\\\"/\\\\\\\"}\n\
        text=${text//\\`/\\\\\\`}\n\
        text=${text//\\$/\\\\\\$}\n\
        printf '\"%s\"' \"${text//\"$HOME\"/\\${HOME\\}}\"\n\
    }\n\
    {\n\
        while IFS= read -r -d '' entry; do\n\
            name=${entry%%=*} value=${entry#*=}\n\
            case $name in\n\
                _ | SHLVL | PWD | OLDPWD | PS1 | HOME | *[!A-Za-z0-9_]*) continue ;;\n\
            esac\n\
            old=${before[$name]-}\n\
            if [ -n \"$old\" ] && [ \"$value\" = \"$old\" ]; then\n\
                continue\n\
            elif [ -n \"$old\" ] && [[ $value == *\":$old\" ]]; then\n\
                printf 'export %s=%s\"${%s:+:$%s}\"\\n' \"$name\" \"$(quoted \"${value%\":$old\"}\")\" \"$name\" \"$name\"\n\
            elif [ -n \"$old\" ] && [[ $value == \"$old:\"* ]]; then\n\
                printf 'export %s=\"${%s:+$%s:}\"%s\\n' \"$name\" \"$name\" \"$name\" \"$(quoted \"${value#\"$old:\"}\")\"\n\
            else\n\
                printf 'export %s=%s\\n' \"$name\" \"$(quoted \"$value\")\"\n\
            fi\n\
        done < \"$private/after\"\n\
        for name in \"${!before[@]}\"; do\n\
            [ -n \"${after[$name]+set}\" ] || printf 'unset %s\\n' \"$name\"\n\
        done\n\
    } > /opt/spack-environment/activate.sh\n\
    chmod -R a+rX /opt/spack-environment /opt/software /opt/._view\n\
"]
# At the start of a container, this script activates the environment.
# The image's variables take precedence over the activation, also with values from 'docker run --env'.
RUN ["/bin/bash", "-euo", "pipefail", "-c", "\
{\n\
    echo '#!/bin/bash'\n\
    echo 'hpcdeploy_given=$(declare -p CC CXX VALUE_0 VALUE_1 VALUE_2 VALUE_3 VALUE_4 VALUE_5 VALUE_6 2> /dev/null)'\n\
    echo '. /opt/spack-environment/activate.sh'\n\
    echo 'eval \"$hpcdeploy_given\"; unset hpcdeploy_given'\n\
    echo 'exec \"$@\"'\n\
} > /opt/spack-environment/entrypoint.sh\n\
chmod 0755 /opt/spack-environment/entrypoint.sh\n\
"]

FROM docker.io/gcc:15 AS final
ARG COLOUR
USER root
COPY --from=build /opt/spack-environment /opt/spack-environment
COPY --from=build /opt/software /opt/software
COPY --from=build /opt/._view /opt/._view
COPY environment-check /opt/environment-check
COPY tutorial /opt/tutorial
COPY ["\\$x [[]1].csv", "/a b"]
RUN ["/bin/bash", "-euo", "pipefail", "-c", "\
    ln -sfn \"$(cat /opt/spack-environment/.view)\" /opt/view\n\
    rm /opt/spack-environment/.view\n\
    chmod -R a+rX /opt/spack-environment\n\
    chmod 0755 /opt/environment-check\n\
# Add a line to /etc/group and one to /etc/passwd, because small base images have no useradd. Another user may already have the
# requested id, so that both share the id. If a user of this name exists, it must have the requested id.
    if ! grep -q '^pdi:' /etc/group; then\n\
        echo 'pdi:*:1001:' >> /etc/group\n\
    fi\n\
    if ! grep -q '^pdi:' /etc/passwd; then\n\
        gid=$(sed -n 's/^pdi:[^:]*:\\([0-9]*\\):.*/\\1/p' /etc/group)\n\
        printf '%s:*:%s:%s::%s:/bin/false\\n' pdi 1001 \"$gid\" /opt/pdi >> /etc/passwd\n\
    elif [ \"$(id -u pdi)\" != 1001 ]; then\n\
        echo \"in the base image the user pdi has the id $(id -u pdi); expected 1001\" >&2\n\
        exit 1\n\
    fi\n\
    mkdir -p /opt/pdi /var/log/pdi\n\
# A build with a single user id cannot change owners. The build then continues, because containers run as the user who starts
# them.
    chown -R pdi: /opt/pdi /var/log/pdi || echo \"cannot change the owner of the user's folders\" >&2\n\
# Files keep the modes that they have in the build context, which may exclude the user of the container.
    ! command -v find > /dev/null || find /opt/tutorial $'/a b' ! -perm -a+r -exec chmod a+rX {} +\n\
"]
RUN mkdir -p /host-libs /scratch
ENV CC="/usr/local/bin/gcc"
ENV CXX="/usr/local/bin/g++"
ENV VALUE_0=""
ENV VALUE_1="a b"
ENV VALUE_2="it's \"quoted\""
ENV VALUE_3="\$HOME `id` \\ \$(id)"
ENV VALUE_4="{{ NAME }}"
ENV VALUE_5="# no comment"
ENV VALUE_6="ünïcode ✓"
LABEL io.github.hpcdeploy.version="VERSION"
LABEL io.github.hpcdeploy.spack.target="x86_64_v3"
LABEL io.github.hpcdeploy.lock="sha256:abababababababababababababababababababababababababababababababab"
LABEL org.opencontainers.image.title="The tutorial"
RUN /opt/spack-environment/entrypoint.sh pdi-config --version
RUN --mount=type=secret,id=KEY,target=/run/secrets/KEY,required=true ["/opt/spack-environment/entrypoint.sh", "/bin/bash", "-eo", "pipefail", "-c", "KEY=\"$(cat /run/secrets/KEY)\"\nexport KEY\necho 'dark \"blue\" $x \\' \"$KEY\" \\\n    second # line"]
# Check that the environment is active.
RUN ["/opt/spack-environment/entrypoint.sh", "/bin/bash", "-eo", "pipefail", "-c", "\
if [ \"$SPACK_ENV\" != /opt/spack-environment ]; then\n\
    echo \"the environment is not active: SPACK_ENV is '$SPACK_ENV'\" >&2\n\
    exit 1\n\
fi\n\
case \":$PATH:\" in\n\
    *:/opt/view/bin:*) ;;\n\
    *) echo \"the environment is not active: PATH is '$PATH'\" >&2; exit 1 ;;\n\
esac\n\
[ -d /opt/view/ ] || { echo \"the view /opt/view does not exist, or is a broken link\" >&2; exit 1; }\n\
if [ \"$CC\" != /usr/local/bin/gcc ] || ! \"$CC\" --version; then\n\
    echo \"CC must be /usr/local/bin/gcc, but the final image has no such compiler\" >&2\n\
    exit 1\n\
fi\n\
if [ \"$CXX\" != /usr/local/bin/g++ ] || ! \"$CXX\" --version; then\n\
    echo \"CXX must be /usr/local/bin/g++, but the final image has no such compiler\" >&2\n\
    exit 1\n\
fi\n\
"]
EXPOSE 8888
EXPOSE 8889
USER pdi
WORKDIR /opt/pdi
ENTRYPOINT ["/opt/spack-environment/entrypoint.sh", "/bin/bash", "-c", "/opt/environment-check && exec \"$@\"", "/opt/environment-check"]
CMD ["bash", "-l", "", "a b", "it's \"quoted\"", "$HOME `id` \\ $(id)", "line\n%post\nBootstrap: x", "{{ NAME }}", "# no comment", "ünïcode ✓"]
