"""Render the script that submits a run."""

from collections.abc import Sequence
from pathlib import Path

from hpcdeploy import shell
from hpcdeploy.cluster import Cluster
from hpcdeploy.job import Job, Predecessor
from hpcdeploy.remote.job_files import JobFiles, job_files
from hpcdeploy.remote.script_parts import ABOUT_SUBMIT, FILES, FIND, on_cluster, set_paths
from hpcdeploy.run import Run
from hpcdeploy.shell_script import Script, Setup, Value, paths_function
from hpcdeploy.staged_files import Delivery, Placement, StagedFile
from hpcdeploy.templates import refuse_former


def submission(
    run: Run,
    job: Job,
    cluster: Cluster,
    delivery: Delivery,
    *,
    placements: Sequence[Placement] = (),
    after: Sequence[Predecessor] = (),
    overrides: Path | None = None,
) -> str:
    """Render the script that provides the image and submits `run` exactly once, however often the script is run.

    If uploads of `placements` or `delivery` are missing on the cluster, the script only lists them, and submits nothing.

    Args:
        run: The run.
        job: The job of the run.
        cluster: The cluster that gets the job.
        delivery: How the image gets to the cluster.
        placements: The job's code and inputs.
        after: Runs that must finish before this run starts.
        overrides: The project's folder, whose own templates replace the built-in ones.

    Raises:
        ConfigError: The scheduler does not support a setting of the job.
        TemplateError: A template is broken.
    """
    refuse_former(overrides)
    files = job_files(run, job, cluster, delivery, placements, after, overrides)
    needed = {staged.path: staged for staged in (*delivery.uploads, *(one.upload for one in placements))}
    pulled = delivery.reference and not delivery.in_job
    limited = cluster.image_cache_size and (run.scheduler == "slurm" or not delivery.in_job)
    values: dict[str, Value] = {
        "run_id": run.id,
        "scheduler": run.scheduler,
        "submit_command": "sbatch" if run.scheduler == "slurm" else "condor_submit",
        "lock_timeout": "",
        **_image_values(cluster, delivery, limited=bool(limited)),
        "has_uploads": bool(needed),
        "trees": files.trees,
        "after": tuple(word for one in after for word in (one.kind, one.run_id, str(one.tasks))),
        **files.values,
    }
    uploads = [_upload(staged, cluster) for staged in needed.values()]
    paths = {**({"uploads": "(\n" + "".join(f"    {one}\n" for one in uploads) + "  )"} if uploads else {}), **files.paths}
    return Script(
        title=f"Submit run {run.id} to {run.scheduler}.",
        about=ABOUT_SUBMIT,
        values=values,
        functions=(set_paths(cluster), paths_function("set_job_paths", paths), *files.functions),
        before_setup=("variables.sh",),
        setup=Setup(lines=cluster.setup, must_succeed=True),
        files=_files(run, files, delivery, pulled=bool(pulled), limited=bool(limited), uploads=bool(needed)),
    ).text()


def _files(run: Run, job: JobFiles, delivery: Delivery, *, pulled: bool, limited: bool, uploads: bool) -> tuple[str, ...]:
    """Return the library files of the script.

    Args:
        run: The run.
        job: The job's files and values.
        delivery: How the image gets to the cluster.
        pulled: The script pulls the image on the login node.
        limited: The image is stored in the image cache, which has a maximum size.
        uploads: The run has files that may have to be uploaded.
    """
    return _unique(
        *FILES["submit"],
        *(("open_lock.sh",) if pulled or limited else ()),
        *(("make_temporary.sh", "image_mode.sh", "pull.sh") if pulled else ()),
        *(("cache.sh",) if limited else ()),
        *(("test_image.sh",) if delivery.untested and not delivery.in_job else ()),
        *(("unpack.sh",) if job.trees else ()),
        *FIND[:2],
        *(("uploads.sh",) if uploads else ()),
        *FILES[f"{run.scheduler}-lookup"],
        *FILES[f"{run.scheduler}-submit"],
        *job.library,
        *FIND[2:],
        "submit.sh",
    )


def _unique(*names: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _image_values(cluster: Cluster, delivery: Delivery, *, limited: bool) -> dict[str, Value]:
    """Return the values for ``login/image.sh``, and for ``login/pull.sh`` and ``login/cache.sh`` if they are needed.

    Args:
        cluster: The cluster.
        delivery: How the image gets to the cluster.
        limited: The image is stored in the image cache, which has a maximum size.
    """
    pulled = bool(delivery.reference) and not delivery.in_job
    uploaded = delivery.upload is not None
    values: dict[str, Value] = {
        "sha256": delivery.sha256,
        "image_from": "job" if delivery.in_job else "registry" if pulled else "upload" if uploaded else "cache",
        "image_source": delivery.fetched_from,
        "cache_limit": (cluster.image_cache_size or 0) * 1024 * 1024 if limited else 0,
        "image_cache_owners": cluster.image_cache_owners,
    }
    if pulled or limited:
        values["image_size"] = delivery.size
    if delivery.untested:
        values["apptainer"] = cluster.apptainer
    if limited:
        values["schedulers"] = tuple(cluster.schedulers)
    if pulled:
        values |= {
            "can_upload": uploaded,
            "reference": delivery.reference,
            "registry_host": delivery.host,
            "registry_port": delivery.port,
            "apptainer": cluster.apptainer,
            "pull_options": delivery.pull_options,
        }
    return values


def _upload(staged: StagedFile, cluster: Cluster) -> str:
    """Return five shell words about an upload for ``login/uploads.sh``: sha256, size, path, description, unpacked folder."""
    tree = on_cluster(staged.becomes, cluster) if staged.becomes else "''"
    return f"{staged.sha256} {staged.size} {on_cluster(staged.path, cluster)} {shell.word(staged.what)} {tree}"
