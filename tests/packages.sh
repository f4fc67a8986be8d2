#!/bin/sh
# Installs what the tests start on this machine itself: an SSH client and server, git, podman, a Docker engine.
# Nothing of it is left running: a temporary policy-rc.d tells the packages not to start their services
# (deb-systemd-invoke(1p)).
set -eu
missing=""
for pair in ssh:openssh-client /usr/sbin/sshd:openssh-server git:git podman:podman /usr/sbin/dockerd:docker.io docker:docker.io; do
  command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair#*:}"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "the tests need:$missing; install them and run this again" >&2
  exit 1
fi
echo "installing for the tests:$missing"
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 0755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # one word for each package
apt-get install -y -qq --no-install-recommends $missing >/dev/null
# From Debian 13 on Docker's command is a package of its own.
command -v docker >/dev/null || apt-get install -y -qq --no-install-recommends docker-cli >/dev/null
