"""Attempts of one request to a registry, until one succeeds or the patience ends."""

from collections.abc import Callable

import requests

from hpcdeploy.registry.failures import explain_exception, is_passing
from hpcdeploy.registry.reference import Reference
from hpcdeploy.registry.retries import PASSING_STATUSES, Patience, next_wait


def persist(
    attempt: Callable[[], requests.Response], patience: Patience, *, doing: str, reference: Reference
) -> requests.Response:
    """Call `attempt` until its answer is no passing failure or `patience` ends; the last answer is given back as it is.

    Raises `hpcdeploy.errors.RegistryError` (or what a `PassingFailure` becomes) where the last attempt has no answer.
    """
    failures, waited = 0, 0.0
    while True:
        response: requests.Response | None = None
        trouble: requests.RequestException | None = None
        try:
            response = attempt()
        except requests.RequestException as error:
            if not is_passing(error):
                raise explain_exception(error, doing=doing, reference=reference, attempts=1) from error
            trouble = error
        if response is not None and response.status_code not in PASSING_STATUSES:
            return response
        failures += 1
        answer = response if trouble is None else trouble.response
        retry_after = answer.headers.get("Retry-After", "") if answer is not None else ""
        wait = next_wait(patience, failures=failures, waited=waited, retry_after=retry_after)
        if wait is None:
            if trouble is not None:
                raise explain_exception(trouble, doing=doing, reference=reference, attempts=failures) from trouble
            assert response is not None
            return response
        if response is not None:
            response.close()
        patience.sleep(wait)
        waited += wait
