"""Whether an upload that a registry did not take should be begun again."""

import hashlib

import requests

from hpcdeploy.registry.failures import PassingFailure, read_detail
from hpcdeploy.registry.streams import FileBody

_RESTART = ("BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID")
"""Error codes of an upload that must be begun again (OCI distribution specification, "Error codes", code-2 and code-3)."""


def refuse_broken(answer: requests.Response, blob: bytes | FileBody, digest: str, host: str) -> None:
    """Raise `PassingFailure` for an upload that broke off, or that arrived damaged though `blob` is what `digest` says.

    A registry does not know an upload (any more) after a restart, or where several machines answer for one name and each
    has its own uploads: "The upload must be restarted" (distribution, registry/api/v2/descriptors.go, of status 404).
    """
    detail = read_detail(answer) if answer.status_code in (400, 404, 416) else ""
    if answer.status_code in (404, 416) or any(code in detail for code in _RESTART):
        raise PassingFailure(f"{host} does not know the upload any more{detail}", response=answer)
    if "DIGEST_INVALID" in detail:
        sha256 = blob.sha256() if isinstance(blob, FileBody) else hashlib.sha256(blob).hexdigest()
        if digest == f"sha256:{sha256}":
            raise PassingFailure(f"{host} received other bytes than were sent{detail}", response=answer)
