"""Define the retry policy for registries."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import requests

from hpcdeploy.registry.failures import explain_exception, is_passing
from hpcdeploy.registry.reference import Reference

# Too early, too many requests, or a server error; all other answers would be the same at the next attempt.
PASSING_STATUSES = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(frozen=True, kw_only=True)
class Patience:
    """A retry policy. All times are in seconds.

    Attributes:
        connect: Timeout for a connection.
        read: Timeout for an answer.
        upload: Timeout for progress of an upload.
        attempts: Maximum number of attempts, including the first.
        first_wait: The first pause between attempts; each further one is twice as long.
        total: Maximum sum of all pauses.
        sleep: Waits for a time.
        clock: Returns a monotonic time.
    """

    connect: float = 10.0
    read: float = 60.0
    upload: float = 600.0
    attempts: int = 4
    first_wait: float = 0.5
    total: float = 30.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


def next_wait(patience: Patience, *, failures: int, waited: float, retry_after: str = "") -> float | None:
    """Return the pause after the `failures`-th failure in seconds; None to stop.

    A server's ``Retry-After`` (seconds or a date: RFC 9110, section 10.2.3) is used if it fits into the remaining time. An
    earlier attempt would violate it, and a longer wait would exceed the policy.
    """
    if failures >= patience.attempts:
        return None
    requested = parse_retry_after(retry_after)
    wait = patience.first_wait * 2 ** (failures - 1) if requested is None else requested
    return wait if waited + wait <= patience.total else None


def parse_retry_after(value: str) -> float | None:
    """Parse ``Retry-After`` as seconds from now; None if it is malformed."""
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def persist(
    attempt: Callable[[], requests.Response], patience: Patience, *, doing: str, reference: Reference
) -> requests.Response:
    """Call `attempt` until its answer is not a temporary failure or the retry policy ends; return the last answer.

    Args:
        attempt: Sends the request.
        patience: The retry policy.
        doing: What is being done, for messages (``Pushing``).
        reference: The image's reference, for messages.

    Raises:
        RegistryError: The last attempt had no answer.
        HpcdeployError: The error of a `PassingFailure`.
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
