"""Render Slurm's configuration files for a lab (slurm.conf(5), gres.conf(5), slurmdbd.conf(5))."""

from hpcdeploy_lab.settings import LabSettings, Ports

SPOOL = "/var/spool/slurm"


def slurm_conf(settings: LabSettings, ports: Ports) -> str:
    """Render slurm.conf: one controller and the simulated nodes, all on loopback.

    - ``config_overrides`` lets a node claim more CPUs and memory than the machine has.
    - ``NoCtldInAddrAny`` and ``NoInAddrAny`` make daemons and srun listen on the address of the host's name, 127.0.0.1.
    - With ``EnableIPv6`` Slurm finds a node's address even on a machine whose only interface is ``lo``. Without it Slurm
      requests only IPv4 addresses, and the resolver returns none on such a machine (getaddrinfo(3), ``AI_ADDRCONFIG``).
    - Each node has its own ``TmpFS``, because Slurm's PMIx creates a folder there for each step. When the nodes shared one
      ``TmpFS``, steps failed occasionally.
    """
    nodes = ",".join(settings.nodes)
    lines = [
        f"ClusterName={settings.name}",
        f"SlurmctldHost={settings.name}(127.0.0.1)",
        f"SlurmctldPort={ports.slurmctld}",
        "SlurmUser=slurm",
        "SlurmdUser=root",
        "AuthType=auth/munge",
        "CredType=cred/munge",
        "CommunicationParameters=NoCtldInAddrAny,NoInAddrAny,EnableIPv6",
        f"StateSaveLocation={SPOOL}/ctld",
        f"SlurmdSpoolDir={SPOOL}/%n",
        f"TmpFS={SPOOL}/%n/tmp",
        "SlurmctldPidFile=/run/slurm/slurmctld.pid",
        "SlurmdPidFile=/run/slurm/%n.pid",
        "SlurmdParameters=config_overrides",
        "ProctrackType=proctrack/linuxproc",
        f"TaskPlugin=task/{'affinity' if settings.task_affinity else 'none'}",
        "JobAcctGatherType=jobacct_gather/none",
        "SwitchType=switch/none" if settings.slurm == "22.05" else "",
        "MailProg=/bin/true",
        "MpiDefault=none",
        "ReturnToService=2",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_Core_Memory",
        "DefMemPerCPU=250",
        "SchedulerType=sched/backfill",
        "SchedulerParameters=sched_interval=2,bf_interval=2,bf_window=1440",
        f"MinJobAge={settings.min_job_age}",
        f"MaxArraySize={settings.max_array_size}",
        "MaxJobCount=100000",
        "KillWait=5",
        "CompleteWait=0",
        "MessageTimeout=30",
        "GresTypes=gpu",
        *_accounting(settings, ports),
    ]
    lines += [
        f"NodeName={node} NodeHostname={settings.name} NodeAddr=127.0.0.1 Port={port} CPUs={settings.cpus} "
        f"RealMemory={settings.memory_mb} Gres=gpu:{settings.gpus} State=UNKNOWN"
        for node, port in zip(settings.nodes, ports.slurmd, strict=True)
    ]
    lines += [
        f"PartitionName=debug Nodes={nodes} Default=YES MaxTime=7-0 DefaultTime=1:00:00 State=UP",
        f"PartitionName=gpu Nodes={nodes} Default=NO MaxTime=1-0 DefaultTime=1:00:00 State=UP",
    ]
    return "\n".join(line for line in lines if line) + "\n"


def _accounting(settings: LabSettings, ports: Ports) -> list[str]:
    if not settings.accounting:
        return []  # the default is accounting_storage/none, with which sacct reports that accounting storage is disabled
    return [
        "AccountingStorageType=accounting_storage/slurmdbd",
        "AccountingStorageHost=127.0.0.1",
        f"AccountingStoragePort={ports.slurmdbd}",
        "AccountingStorageTRES=gres/gpu",
        "AccountingStoreFlags=job_comment",
    ]


def gres_conf(settings: LabSettings) -> str:
    """Render gres.conf: the simulated GPUs are device files in the lab that behave like ``/dev/null``."""
    return f"NodeName={','.join(settings.nodes)} Name=gpu File=/dev/pretend-gpu[0-{settings.gpus - 1}]\n"


def cgroup_conf(settings: LabSettings) -> str:
    """Render cgroup.conf: the lab has no control groups.

    Slurm 22.05 cannot disable control groups. So it gets the plugin for cgroup v1, which mounts and creates nothing unless
    another plugin needs control groups.
    """
    plugin = "cgroup/v1" if settings.slurm == "22.05" else "disabled"
    return f"CgroupPlugin={plugin}\n"


def slurmdbd_conf(ports: Ports) -> str:
    """Render slurmdbd.conf: slurmdbd connects to MariaDB's socket as the system user ``slurm``, without a password."""
    return "\n".join(
        (
            "AuthType=auth/munge",
            "DbdHost=localhost",
            "DbdAddr=127.0.0.1",
            f"DbdPort={ports.slurmdbd}",
            "CommunicationParameters=NoInAddrAny,EnableIPv6",
            "SlurmUser=slurm",
            "PidFile=/run/slurm/slurmdbd.pid",
            "StorageType=accounting_storage/mysql",
            "StorageHost=localhost",
            "StorageUser=slurm",
            "StorageLoc=slurm_acct_db",
            "",
        )
    )


DATABASE = """\
CREATE DATABASE IF NOT EXISTS slurm_acct_db;
CREATE USER IF NOT EXISTS slurm@localhost IDENTIFIED VIA unix_socket;
GRANT ALL ON slurm_acct_db.* TO slurm@localhost;
"""


def accounts(settings: LabSettings) -> str:
    """Render the idempotent shell script that creates an account for the lab's user in Slurm's accounting."""
    return f"""\
set -eu
known() {{ sacctmgr -nP "$@" | grep -q .; }}
known list cluster name={settings.name} || sacctmgr -i add cluster {settings.name}
known list account name=research || sacctmgr -i add account research
known list user name={settings.user} || sacctmgr -i add user {settings.user} account=research
"""
