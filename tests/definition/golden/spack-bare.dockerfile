# syntax=docker/dockerfile:1
# spack-bare: a Spack environment in two stages, made by hpcdeploy VERSION

FROM docker.io/spack/ubuntu-noble:1.2.2 AS build
USER root
COPY envs/gpu/spack.yaml /opt/spack-environment/spack.yaml
# One RUN, so that no layer keeps the files that 'spack gc' removes.
RUN ["/bin/bash", "-euo", "pipefail", "-c", "\
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
    cd /opt/spack-environment\n\
# These options take precedence over spack.yaml.
    options=(-c config:install_tree:root:/opt/software -c $'packages:all:require:[target=x86_64_v3]')\n\
    configured() {\n\
        spack \"${options[@]}\" -e /opt/spack-environment \"$@\"\n\
    }\n\
    configured concretize\n\
    configured install --fail-fast\n\
    configured gc -y\n\
# Remove debugging symbols from programs and libraries. A file that strip rejects stays unchanged.
    if command -v file > /dev/null && command -v strip > /dev/null; then\n\
        { find /opt/software -type f || true; } | sort -u | while IFS= read -r binary; do\n\
            case $(file -b --mime-type \"$binary\") in\n\
                application/x-executable | application/x-pie-executable | application/x-sharedlib | application/x-archive)\n\
                    strip \"$binary\" || true ;;\n\
            esac\n\
        done\n\
    else\n\
        echo \"nothing is stripped: the base image lacks 'file' or 'strip'\" >&2\n\
    fi\n\
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
    chmod -R a+rX /opt/spack-environment /opt/software\n\
"]
# At the start of a container, this script activates the environment.
RUN ["/bin/bash", "-euo", "pipefail", "-c", "\
{\n\
    echo '#!/bin/bash'\n\
    echo '. /opt/spack-environment/activate.sh'\n\
    echo 'exec \"$@\"'\n\
} > /opt/spack-environment/entrypoint.sh\n\
chmod 0755 /opt/spack-environment/entrypoint.sh\n\
"]

FROM docker.io/ubuntu:24.04 AS final
USER root
COPY --from=build /opt/spack-environment /opt/spack-environment
COPY --from=build /opt/software /opt/software
RUN ["/bin/bash", "-euo", "pipefail", "-c", "\
    chmod -R a+rX /opt/spack-environment\n\
"]
LABEL io.github.hpcdeploy.version="VERSION"
LABEL io.github.hpcdeploy.spack.target="x86_64_v3"
# Check that the environment is active.
RUN ["/opt/spack-environment/entrypoint.sh", "/bin/bash", "-eo", "pipefail", "-c", "\
if [ \"$SPACK_ENV\" != /opt/spack-environment ]; then\n\
    echo \"the environment is not active: SPACK_ENV is '$SPACK_ENV'\" >&2\n\
    exit 1\n\
fi\n\
"]
ENTRYPOINT ["/opt/spack-environment/entrypoint.sh"]
CMD ["/bin/bash"]
