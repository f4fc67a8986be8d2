"""Render HTCondor's configuration for a lab (the HTCondor manual, "Configuration Macros")."""

from hpcdeploy_lab.settings import LabSettings, Ports

GPUS = "etc/hpcdeploy-lab/gpus"
"""Path of the file with the simulated GPUs, relative to the lab's root folder."""


def gpu_inventory(count: int) -> str:
    """Render the output of condor_gpu_discovery for `count` GPUs with 40 GB each and a driver for CUDA 12.4.

    ``MaxSupportedVersion`` has the format of CUDA's own version numbers: 1000 * major + 10 * minor.
    """
    names = ", ".join(f"GPU-{number}" for number in range(count))
    what = 'Capability=8.0; DeviceName="pretend GPU"; DriverVersion=12.4; GlobalMemoryMb=40960; MaxSupportedVersion=12040;'
    each = "".join(f'GPU_{number}=[ id="GPU-{number}"; ]\n' for number in range(count))
    return f'DetectedGPUs="{names}"\nCommon=[ {what} ]\n{each}' if count else "DetectedGPUs=0\n"


def condor_conf(settings: LabSettings, ports: Ports) -> str:
    """Render a file for ``/etc/condor/config.d``: central manager, access point and worker on one machine and one port.

    HTCondor reads the simulated GPUs from a file (`gpu_inventory`), instead of running condor_gpu_discovery. ``HasSIF`` is
    set explicitly, because HTCondor otherwise determines it with a test image, which Debian's package lacks.
    """
    return f"""\
DAEMON_LIST = MASTER, SHARED_PORT, COLLECTOR, NEGOTIATOR, SCHEDD, STARTD
CONDOR_HOST = 127.0.0.1
COLLECTOR_HOST = 127.0.0.1:{ports.condor}
USE_SHARED_PORT = True
SHARED_PORT_PORT = {ports.condor}
NETWORK_INTERFACE = 127.0.0.1
NETWORK_HOSTNAME = {settings.name}
BIND_ALL_INTERFACES = False
ENABLE_IPV6 = False
LOG = /lab/log/condor
UID_DOMAIN = {settings.name}
FILESYSTEM_DOMAIN = {settings.name}
TRUST_UID_DOMAIN = True
STARTER_ALLOW_RUNAS_OWNER = True

NUM_CPUS = {settings.cpus * len(settings.nodes)}
MEMORY = {settings.memory_mb}
MACHINE_RESOURCE_INVENTORY_GPUS = /bin/cat /{GPUS}
NUM_SLOTS_TYPE_1 = 1
SLOT_TYPE_1 = 100%
SLOT_TYPE_1_PARTITIONABLE = True
START = True
SUSPEND = False
PREEMPT = False
KILL = False
BASE_CGROUP =
RunBenchmarks = False

SINGULARITY = /usr/bin/apptainer
SINGULARITY_RUN_TEST_BEFORE_JOB = False
HasSIF = True
STARTD_ATTRS = $(STARTD_ATTRS) HasSIF

NEGOTIATOR_INTERVAL = 2
NEGOTIATOR_CYCLE_DELAY = 1
NEGOTIATOR_MIN_INTERVAL = 1
SCHEDD_INTERVAL = 5
SCHEDD_MIN_INTERVAL = 1
UPDATE_INTERVAL = 5
JOB_START_COUNT = 50
JOB_START_DELAY = 0
MAX_JOBS_RUNNING = 200
SHADOW_QUEUE_UPDATE_INTERVAL = 5
STARTER_UPDATE_INTERVAL = 5
"""
