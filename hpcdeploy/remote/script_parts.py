"""Define the common parts of the scripts for login nodes: library files, the text about their usage, the cluster's paths."""

from collections.abc import Mapping

from hpcdeploy import shell
from hpcdeploy.cluster import Cluster
from hpcdeploy.shell_script import Script, Setup, Value, paths_function

ABOUT_SUBMIT = """\

Run it on a login node:  bash submit.sh
It needs bash, coreutils, flock (util-linux), Apptainer and the scheduler's own commands, and nothing of hpcdeploy.
It may run any number of times: the run is submitted once, and every later call reports that. With the argument "again" it
first queries the scheduler for the run's job, even if the run's folder, which may be lost, has no record of an earlier call.
With the argument "bring" it does not ask you to copy missing files, because hpcdeploy uploads them.

Exit status: 0 submitted, now or earlier. 10 login node not usable (missing command, unusable root). 11 no image.
12 rejected by the scheduler. 13 unknown whether the scheduler accepted the job: run this again.
14 files must be uploaded first (they are listed). 15 the run was cancelled.
"""

ABOUT_REVOKE = """\

Run it on a login node:  bash revoke.sh
It needs bash, coreutils, flock (util-linux) and the scheduler's own commands, and changes nothing but the run's own folder.

Exit status: 0 it printed the job's number, or that there is none and will be none. 10 login node not usable.
13 unknown whether there is a job: run this again.
"""

ABOUT_RECEIVE = """\

Exit status: 0 the file is here. 10 login node not usable. 11 the file arrived damaged and was removed.
15 incomplete: call again.
"""

ABOUT_RECEIVE_RECORDS = """\

Exit status: 0 the records are here. 10 login node not usable. 11 a record arrived damaged, and was not written.
15 incomplete; or, with an empty answer: there is no python3, or the whole file is here.
"""

DATA_FOLLOWS = "main; exec </dev/null"
"""The last line of a script whose standard input continues with data, which must never be read as commands."""

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
    "logs": ("paths.sh", "sections.sh", "logs.sh"),
    "clean": ("paths.sh", "messages.sh", "sections.sh", "clean.sh"),
    "list": ("paths.sh", "sections.sh", "json.sh", "list.sh"),
    "slurm-lookup": ("slurm/my_jobs.sh", "slurm/lookup.sh"),
    "htcondor-lookup": ("htcondor/lookup.sh",),
    "slurm-submit": ("slurm/release.sh", "slurm/check_job.sh", "slurm/submit.sh"),
    "htcondor-submit": ("htcondor/submit.sh",),
}
"""The library files of each script, or of a part of it, in the order in which they run (the folder ``login/``)."""


def set_paths(cluster: Cluster) -> str:
    """Return the function that assigns the cluster's folders."""
    folders = {"root": cluster.root, "cache": cluster.images_folder, "tmp": cluster.tmp_folder}
    return paths_function("set_paths", {name: shell.path(path) for name, path in folders.items()})


def setup_for(cluster: Cluster, *paths: str) -> tuple[str, ...]:
    """Return the cluster's setup for a script that only needs `paths`, or nothing if these contain no variables.

    Setup lines may set the variables, as they do for `submission`, but loading modules can take a second (`module load`).
    """
    return cluster.setup if any(set(shell.variables(path)) - {"HOME"} for path in paths) else ()


def on_cluster(path: str, cluster: Cluster) -> str:
    """Return `path`, below the cluster's root if it is relative, as a shell word for the login node."""
    return shell.path(path if path.startswith(("/", "$", "~/")) else f"{cluster.root}/{path}")


def query_script(
    title: str, values: Mapping[str, Value], cluster: Cluster, files: str, *, with_variables: bool = False
) -> str:
    """Render a script that needs the cluster's root only.

    Args:
        title: What it does.
        values: Its values.
        cluster: The cluster.
        files: Its key in `FILES`.
        with_variables: It calls the scheduler's commands, whose variables it removes, after all setup lines.
    """
    return Script(
        title=title,
        values=values,
        functions=(paths_function("set_paths", {"root": shell.path(cluster.root)}),),
        before_setup=("variables.sh",) if with_variables else (),
        setup=Setup(lines=cluster.setup if with_variables else setup_for(cluster, cluster.root)),
        files=FILES[files],
    ).text()
