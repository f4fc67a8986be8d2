#!/bin/bash
# spython 0.3.14 makes one stage of a Dockerfile with two, and runs both stages' commands in the last image. Seen on 2026-11-29,
# Python 3.11.
#
# Guess before the run: two stages, "%files from build" for COPY --from=build, nothing for --chmod and HEALTHCHECK, and a runscript with
# the arguments of ENTRYPOINT.
# Seen (the only warning is that a file --chmod=755 does not exist):
#   - there is one stage. It is From the last image, it has the name of the first ("Stage: build"), and it copies "from build", itself
#   - "go build", a command of the first stage, is in %post of the last image, which has no Go
#   - "COPY --chmod=755 start.sh /start.sh" copies a file named "--chmod=755" as well
#   - HEALTHCHECK becomes %test, with its options as the first words of the command
#   - ENTRYPOINT ["solver", "--title", "two words"] becomes "exec solver --title two words": three arguments
# So a Dockerfile of more than one stage must be built as it is (and its image converted), not translated with spython recipe.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check spython==0.3.14
cat >"$folder/Dockerfile" <<'END_OF_DOCKERFILE'
FROM golang:1.23 AS build
RUN go build -o /solver ./...
FROM debian:12-slim
COPY --from=build /solver /usr/local/bin/solver
COPY --chmod=755 start.sh /start.sh
HEALTHCHECK --interval=5m CMD solver --check
ENTRYPOINT ["solver", "--title", "two words"]
END_OF_DOCKERFILE
touch "$folder/start.sh"
cd "$folder"
"$folder/venv/bin/spython" recipe --parser docker --writer singularity Dockerfile >written.def 2>messages
expect() { grep -qxF -- "$1" written.def || { echo "no longer written: $1"; cat written.def; exit 1; }; }
[ "$(grep -c '^Bootstrap:' written.def)" = 1 ] || { echo "more than one stage is written now"; cat written.def; exit 1; }
expect 'From: debian:12-slim'
expect 'Stage: build'
expect '%files from build'
expect 'go build -o /solver ./...'
expect '--chmod=755 /start.sh'
expect '--interval=5m CMD solver --check'
expect 'exec solver --title two words "$@"'
echo "as seen with spython 0.3.14"
