"""Describe the daemons of a lab: configuration files, preparation script, command lines and readiness checks."""

import json
from dataclasses import asdict

from hpcdeploy_lab.condor import GPUS, condor_conf, gpu_inventory
from hpcdeploy_lab.settings import LabSettings, Ports, Service, site_variables
from hpcdeploy_lab.slurm import DATABASE, SPOOL, accounts, cgroup_conf, gres_conf, slurm_conf, slurmdbd_conf


def files(settings: LabSettings, ports: Ports) -> dict[str, str]:
    """Return the files to write into the lab's root: content by path relative to ``/``."""
    return {
        "etc/hostname": f"{settings.name}\n",
        "etc/hosts": f"127.0.0.1 {settings.name} localhost {' '.join(settings.nodes)}\n::1 ip6-localhost\n",
        "etc/slurm/slurm.conf": slurm_conf(settings, ports),
        "etc/slurm/gres.conf": gres_conf(settings),
        "etc/slurm/cgroup.conf": cgroup_conf(settings),
        "etc/slurm/slurmdbd.conf": slurmdbd_conf(ports),
        "etc/condor/config.d/50-lab.config": condor_conf(settings, ports),
        GPUS: gpu_inventory(settings.gpus),
        "etc/ssh/sshd_config": sshd_config(settings, ports),
        "etc/docker/registry/config.yml": registry_config(ports),
        "etc/hpcdeploy-lab/prepare.sh": prepare_script(settings),
        "etc/hpcdeploy-lab/accounts.sh": accounts(settings),
        "etc/hpcdeploy-lab/database.sql": DATABASE,
    }


def sshd_config(settings: LabSettings, ports: Ports) -> str:
    """Render sshd_config(5): sshd listens on loopback, and accepts only the lab's user, with a key.

    Tests open many sessions at once, and some logins fail intentionally. So the limits on sessions are high, and failed
    logins have no penalty. The option for penalties is left out for OpenSSH before 9.8, which does not know it and would not
    start.
    """
    variables = " ".join(f'"{name}={value}"' for name, value in site_variables(settings.scratch).items())
    penalties = "" if settings.suite == "bookworm" else "PerSourcePenalties no\n"
    return f"""\
ListenAddress 127.0.0.1
Port {ports.ssh}
HostKey /lab/keys/host
AllowUsers {settings.user}
AuthorizedKeysFile /lab/keys/authorized
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PidFile none
MaxStartups 200
MaxSessions 200
{penalties}SetEnv {variables}
AcceptEnv LANG LC_*
PrintMotd no
Subsystem sftp internal-sftp
"""


def registry_config(ports: Ports) -> str:
    """Render the registry's configuration: it listens on loopback, requires no login, and allows deletion."""
    return f"""\
version: 0.1
log:
  level: info
storage:
  filesystem:
    rootdirectory: /var/lib/docker-registry
  delete:
    enabled: true
http:
  addr: 127.0.0.1:{ports.registry}
"""


def prepare_script(settings: LabSettings) -> str:
    """Render the idempotent shell script that runs once before the daemons.

    ``useradd`` also writes the subuid and subgid ranges that unprivileged builds need. The password field is ``*``, because
    sshd then allows logins with a key; with ``!`` sshd would treat the account as locked (sshd(8)).
    """
    user, other = settings.user, settings.colleague
    condor = "install -d -o condor -g condor -m 755 /run/condor /run/lock/condor /lab/log/condor"
    condor = condor if "htcondor" in settings.schedulers else ""
    return f"""\
set -eu
id {user} >/dev/null 2>&1 || useradd --create-home --uid {settings.uid} --user-group --shell /bin/bash --password '*' {user}
test -d /home/{user} || {{ cp -R /etc/skel /home/{user}; chown -R {user}: /home/{user}; }}
install -d -o {user} -g {user} -m 700 {settings.scratch}
id {other} >/dev/null 2>&1 || useradd --create-home --uid {settings.uid + 1} --user-group --shell /bin/bash {other}
test -d /home/{other} || {{ cp -R /etc/skel /home/{other}; chown -R {other}: /home/{other}; }}
groupadd --force {settings.team}
usermod --append --groups {settings.team} {user}
usermod --append --groups {settings.team} {other}
install -d -o {other} -g {settings.team} -m 2770 /scratch/{settings.team}
chmod 1777 /tmp
install -d -m 755 /run/sshd /run/lock /run/user
install -d -o munge -g munge -m 755 /run/munge
install -d -o mysql -g mysql -m 755 /run/mysqld
install -d -o slurm -g slurm -m 755 /run/slurm {SPOOL} {SPOOL}/ctld
for node in {" ".join(settings.nodes)}; do install -d -m 1777 {SPOOL}/"$node"/tmp; done
{condor}
# slurmctld stores the cluster's id in this file, and refuses to start if the database has another id, as after a start
# without a database. The check protects sites on which several controllers could use one StateSaveLocation. The lab has only
# one controller, so the file is removed.
rm -f {SPOOL}/ctld/clustername
chown -R docker-registry: /var/lib/docker-registry
chown slurm: /etc/slurm/slurmdbd.conf
chmod 600 /etc/slurm/slurmdbd.conf
mkdir -p /lab/keys
cd /lab/keys
test -s munge || {{ head -c 1024 /dev/urandom > munge.part; mv munge.part munge; }}
chown munge: munge
chmod 400 munge
for key in host user; do
    test -s "$key.pub" || {{ rm -f "$key"; ssh-keygen -q -t ed25519 -N '' -C hpcdeploy-lab -f "$key"; }}
done
cp user.pub authorized
"""


def services(settings: LabSettings, ports: Ports) -> tuple[Service, ...]:
    """Return the daemons of the lab, with command lines that run them in the foreground."""
    slurm_needs = ("munge", "slurmdbd") if settings.accounting else ("munge",)
    listed = [
        Service(name="sshd", argv=("/usr/sbin/sshd", "-D", "-e"), ready=_listening(ports.ssh)),
        Service(
            name="registry",
            argv=("/usr/bin/docker-registry", "serve", "/etc/docker/registry/config.yml"),
            user="docker-registry",
            ready=("curl", "-sf", "-o", "/dev/null", f"http://127.0.0.1:{ports.registry}/v2/"),
        ),
        Service(
            name="munge",
            argv=("/usr/sbin/munged", "--foreground", "--key-file=/lab/keys/munge"),
            user="munge",
            ready=("munge", "--no-input"),
        ),
        *(_accounting() if settings.accounting else ()),
        Service(
            name="slurmctld",
            argv=("/usr/sbin/slurmctld", "-D"),
            user="slurm",
            after=slurm_needs,
            ready=("sh", "-c", "scontrol ping | grep -q UP"),
        ),
        *(
            Service(
                name=node,
                argv=("/usr/sbin/slurmd", "-D", "-N", node),
                after=("slurmctld",),
                ready=("sh", "-c", f"sinfo -h -N -n {node} -o %T | grep -qxE 'idle|mixed|allocated|completing'"),
            )
            for node in settings.nodes
        ),
        *(_condor() if "htcondor" in settings.schedulers else ()),
    ]
    return tuple(listed)


def _condor() -> tuple[Service, ...]:
    return (
        Service(
            name="condor",
            argv=("/usr/sbin/condor_master", "-f"),
            ready=("sh", "-c", "condor_status -af Name | grep -q slot1 && condor_status -schedd -af Name | grep -q ."),
            stop_signal="SIGQUIT",  # a fast shutdown; with SIGTERM HTCondor would wait for running jobs (condor_off(1))
        ),
    )


def _accounting() -> tuple[Service, ...]:
    """Return the database and slurmdbd.

    Snapshot isolation is the default of MariaDB from 11.6.2 on. The lab turns it off, because slurmdbd does not support it:
    a write conflict can end slurmdbd (slurmdbd 26.05.5 logs that the option should be OFF). The option has the prefix
    ``loose-``, so that an older MariaDB, which does not know it, only prints a warning (mariadbd(8)).
    """
    options = ("--skip-networking", "--innodb-buffer-pool-size=64M", "--loose-innodb-snapshot-isolation=OFF")
    database = ("/usr/sbin/mariadbd", "--user=mysql", *options)
    ready = ("sh", "-c", "mariadb < /etc/hpcdeploy-lab/database.sql")
    return (
        Service(name="mariadb", argv=database, ready=ready),
        Service(
            name="slurmdbd",
            argv=("/usr/sbin/slurmdbd", "-D"),
            user="slurm",
            after=("munge", "mariadb"),
            ready=("sacctmgr", "-nP", "list", "cluster"),
        ),
    )


def _listening(port: int) -> tuple[str, ...]:
    return ("python3", "-c", f"import socket; socket.create_connection(('127.0.0.1', {port}), 1).close()")


def plan(settings: LabSettings, ports: Ports) -> str:
    """Render the plan for the lab's init process."""
    finish = [["sh", "/etc/hpcdeploy-lab/accounts.sh"]] if settings.accounting else []
    return json.dumps(
        {
            "prepare": [["sh", "/etc/hpcdeploy-lab/prepare.sh"]],
            "services": [asdict(service) for service in services(settings, ports)],
            "finish": finish,
        },
        indent=1,
    )
