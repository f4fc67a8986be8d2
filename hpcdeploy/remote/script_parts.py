"""Define the common parts of the scripts for login nodes: library files, texts about their usage, the cluster's paths."""

from collections.abc import Mapping

from hpcdeploy import shell
from hpcdeploy.cluster import Cluster
from hpcdeploy.shell_script import Script, Setup, Value, paths_function

ABOUT_SUBMIT = """\

Run it on a login node:  bash submit.sh
It needs bash, coreutils, flock (util-linux), Apptainer and the scheduler's commands, but not hpcdeploy.
You can run it several times: it submits the run once, and later calls report the submitted job. With the argument "again" it
first queries the scheduler for the run's job, even if the run's folder does not exist or has no record of an earlier call.
With the argument "bring" it leaves two messages to hpcdeploy: which files are missing, and which job was submitted.

Exit status: 0 submitted, now or earlier. 10 login node not usable (missing command, unusable root). 11 no image.
12 rejected by the scheduler. 13 unknown whether the scheduler accepted the job: run this script again.
14 files must be uploaded first (they are listed). 15 the run was cancelled.
"""

ABOUT_REVOKE = """\

Run it on a login node:  bash revoke.sh
It needs bash, coreutils, flock (util-linux) and the scheduler's commands. It changes only the run's folder.

Exit status: 0 the printed answer has the job's id, or an empty id if the run has no job and will not get one.
10 login node not usable. 13 unknown whether the run has a job: run this script again.
"""

ABOUT_RECEIVE = """\

Exit status: 0 the file is complete. 10 login node not usable. 11 the received file was damaged, and was removed.
15 the file is incomplete: run this script again.
"""

ABOUT_RECEIVE_RECORDS = """\

Exit status: 0 all records were received. 10 login node not usable. 11 a received record was damaged, and was not written.
15 records are missing. An empty answer means that there is no python3, or that the file is already complete.
"""

DATA_FOLLOWS = "main; exec </dev/null"
"""The last line of a script that is followed by data on standard input; the shell must not read data as commands."""

_UPLOAD = ("paths.sh", "messages.sh", "owners.sh", "open_lock.sh", "upload.sh")
FIND = ("json.sh", "answer.sh", "job_link.sh")

FILES: Mapping[str, tuple[str, ...]] = {
    "submit": (
        *("paths.sh", "messages.sh", "owners.sh", "folders.sh", "submit_folders.sh", "run_lock.sh"),
        *("trust.sh", "image.sh"),
    ),
    "revoke": ("paths.sh", "messages.sh", "owners.sh", "folders.sh", "revoke.sh", "run_lock.sh"),
    "receive": (*_UPLOAD, "image_mode.sh", "receive.sh"),
    "records": (*_UPLOAD, "records.sh"),
    "slurm-follow": ("paths.sh", "sections.sh", "limited.sh", "slurm/release.sh", "slurm/follow.sh"),
    "htcondor-follow": ("paths.sh", "sections.sh", "limited.sh", "htcondor/follow.sh"),
    "slurm-cancel": ("paths.sh", "cancel.sh", "slurm/my_jobs.sh", "slurm/cancel.sh"),
    "htcondor-cancel": ("paths.sh", "cancel.sh", "htcondor/cancel.sh"),
    "slurm-nodes": ("sections.sh", "slurm/nodes.sh"),
    "htcondor-nodes": ("sections.sh", "htcondor/nodes.sh"),
    "logs": ("paths.sh", "sections.sh", "logs.sh"),
    "clean": ("paths.sh", "messages.sh", "sections.sh", "clean.sh"),
    "cached": (
        *("paths.sh", "messages.sh", "owners.sh", "sections.sh", "open_lock.sh", "image_mode.sh", "trust.sh", "intact.sh"),
        *("cache.sh", "cached.sh"),
    ),
    "list": ("paths.sh", "sections.sh", "json.sh", "list.sh"),
    "slurm-lookup": ("slurm/my_jobs.sh", "slurm/lookup.sh"),
    "htcondor-lookup": ("htcondor/lookup.sh",),
    "slurm-submit": ("slurm/release.sh", "slurm/check_job.sh", "slurm/submit.sh"),
    "htcondor-submit": ("htcondor/submit.sh",),
}
"""The library files (folder ``login/``) of each script, or of a part of a script, in the order in which they run."""


def set_paths(cluster: Cluster) -> str:
    """Return the function that assigns the cluster's folders."""
    folders = {"root": cluster.root, "cache": cluster.images_folder, "tmp": cluster.tmp_folder}
    return paths_function("set_paths", {name: shell.path(path) for name, path in folders.items()})


def setup_for(cluster: Cluster, *paths: str) -> tuple[str, ...]:
    """Return the cluster's setup lines if a script that only uses `paths` needs them, else an empty tuple.

    The script needs them if a path contains a variable other than HOME, because setup lines may set it. Otherwise they are
    omitted to save time, because ``module load`` can take a second.
    """
    return cluster.setup if any(set(shell.variables(path)) - {"HOME"} for path in paths) else ()


def on_cluster(path: str, cluster: Cluster) -> str:
    """Return `path` as a shell word for the login node; a relative path is below the cluster's root."""
    return shell.path(path if path.startswith(("/", "$", "~/")) else f"{cluster.root}/{path}")


def query_script(
    title: str, values: Mapping[str, Value], cluster: Cluster, files: str, *, with_variables: bool = False
) -> str:
    """Render a script that uses only one folder of the cluster, the root.

    Args:
        title: A sentence about what the script does.
        values: The variables that the script assigns, by name.
        cluster: The cluster.
        files: The script's key in `FILES`.
        with_variables: The script calls the scheduler's commands. So it runs all setup lines, and removes variables that
            would change what these commands do (``login/variables.sh``).
    """
    return Script(
        title=title,
        values=values,
        functions=(paths_function("set_paths", {"root": shell.path(cluster.root)}),),
        before_setup=("variables.sh",) if with_variables else (),
        setup=Setup(lines=cluster.setup if with_variables else setup_for(cluster, cluster.root)),
        files=FILES[files],
    ).text()
