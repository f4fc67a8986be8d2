"""Return words for tab completion, such as jobs, runs, clusters and images; only local files are read.

A shell would write a message into the user's command line. So after an error the completion returns no words and prints
nothing. The shells that typer supports evaluate the words (zsh: ``eval``), so only words of safe characters are returned.
"""

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from hpcdeploy.cli.place import Place
    from hpcdeploy.store import Store

_OPTION = re.compile(r"--?[A-Za-z0-9-]+")
_SAFE = re.compile(r"[A-Za-z0-9_+@%/.,=-]+")

_MOST_RUNS = 100
_LOCKED_FOR = 0.2
"""Maximum time in seconds that a completion waits for the lock of the record."""

Offered = Iterable[str | tuple[str, str]]
Completion = Callable[[str], list[str | tuple[str, str]]]


def _offers(words: "Callable[[Place], Offered]") -> Completion:
    """Return a completion function that calls `words` and returns the words that begin with the typed text.

    An item of `words` is a word, or a pair of a word and its help text.
    """

    def complete(incomplete: str) -> list[str | tuple[str, str]]:
        from hpcdeploy.cli.place import here

        found: dict[str, str | tuple[str, str]] = {}
        with suppress(Exception):  # no message, which would be written into the user's command line
            for one in words(here()):
                word = one if isinstance(one, str) else one[0]
                if word.startswith(incomplete) and _SAFE.fullmatch(word):
                    found.setdefault(word, one)
        return list(found.values())

    complete.__doc__ = words.__doc__
    return complete


@_offers
def jobs(place: "Place") -> Offered:
    """Offer the jobs of the project."""
    return [(name, "job") for name in place.project.jobs]


@_offers
def images(place: "Place") -> Offered:
    """Offer the images of the project."""
    return [(name, "image") for name in place.project.images]


@_offers
def clusters(place: "Place") -> Offered:
    """Offer the clusters in the settings."""
    return [(name, ", ".join(cluster.schedulers)) for name, cluster in place.project.clusters.items()]


@_offers
def schedulers(_place: "Place") -> Offered:
    """Offer the schedulers."""
    from typing import get_args

    from hpcdeploy.cluster import SchedulerName

    return list(get_args(SchedulerName))


@_offers
def runs(place: "Place") -> Offered:
    """Offer the jobs of the project, the runs of the project, and then the runs of other projects."""
    with suppress(Exception):  # runs are offered even if the settings are invalid
        yield from ((name, "newest run of the job") for name in place.project.jobs)
    own = _labels(place.root) if place.root else []
    for run_id, cluster, ended in (*own, *_labels()):
        yield run_id, f"{cluster}, {'ended' if ended else 'not ended'}"


@_offers
def clusters_of_runs(_place: "Place") -> Offered:
    """Offer the clusters that have runs."""
    return sorted({cluster for _, cluster, _ in _labels()})


@_offers
def projects(_place: "Place") -> Offered:
    """Offer the folders of projects that have runs."""
    store = _store()
    return map(str, store.projects()) if store else ()


@_offers
def lost_projects(_place: "Place") -> Offered:
    """Offer the folders of projects that no longer exist."""
    store = _store()
    return [str(folder) for folder in store.projects() if not folder.exists()] if store else ()


@_offers
def templates(_place: "Place") -> Offered:
    """Offer the templates."""
    from hpcdeploy.templates import shipped_names

    return shipped_names()


@_offers
def instances(_place: "Place") -> Offered:
    """Offer the instances on this machine."""
    from hpcdeploy.engine.instances import Instances, default_root

    return [one.name for one in Instances(default_root()).all()]


@_offers
def targets(place: "Place") -> Offered:
    """Offer the targets of ``run`` and ``shell``: jobs and images of the project."""
    yield from ((name, "job") for name in place.project.jobs)
    yield from ((name, "image") for name in place.project.images)


@_offers
def engines(_place: "Place") -> Offered:
    """Offer the container engines."""
    from typing import get_args

    from hpcdeploy.engine.contract import EngineName

    return ["auto", *get_args(EngineName)]


def _store() -> "Store | None":
    """Return the record of runs; None if it does not exist, because `Store` would create it."""
    from hpcdeploy.store import Store, default_path

    path = default_path()
    return Store(path, locked_for=_LOCKED_FOR) if path.exists() else None


def _labels(project: "Path | None" = None) -> list[tuple[str, str, bool]]:
    store = _store()
    return store.labels(project=project, most=_MOST_RUNS) if store else []


_ZSH_FIRST_CALL = '[[ $zsh_eval_context[-1] != loadautofunc ]] || %(complete_func)s "$@"'
"""Last line of the completion script of zsh, as in the script of click.

typer's script has no such line, so the first Tab in each zsh only loads the script (zshcompsys(1), "Autoloaded files").
"""


def adapt_shells() -> None:
    """Change three things in typer's completion of zsh and fish.

    - ``--option=VALUE`` is completed. typer offers VALUE alone. In bash a word ends at ``=``, but zsh and fish compare an
      offer with the whole word.
    - In zsh, the first Tab already completes (`_ZSH_FIRST_CALL`).
    - In zsh, help texts keep their apostrophes. typer doubles each apostrophe, but its output is one word in single quotes,
      where a doubled apostrophe is dropped.
    """
    from click.shell_completion import CompletionItem, add_completion_class
    from typer import _completion_classes as shells
    from typer import _completion_shared as shared

    def whole(incomplete: str, items: list[CompletionItem]) -> list[CompletionItem]:
        option, sign, _ = incomplete.partition("=")
        if not sign:
            return items
        for item in items:
            item.value = f"{option}={item.value}"
        return items if _OPTION.fullmatch(option) else []

    class Zsh(shells.ZshComplete):
        def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
            return whole(incomplete, super().get_completions(args, incomplete))

        def format_completion(self, item: CompletionItem) -> str:
            return super().format_completion(item).replace("''", r"'\''")

        def complete(self) -> str:
            words = super().complete()
            # Only the text after "=" is a path (zshcompwid(1), compset).
            return "compset -P '--*='; _files" if words == "_files" and "=" in self.get_completion_args()[1] else words

    class Fish(shells.FishComplete):
        def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
            return whole(incomplete, super().get_completions(args, incomplete))

    shared._completion_scripts["zsh"] = f"{shared.COMPLETION_SCRIPT_ZSH.rstrip()}\n{_ZSH_FIRST_CALL}\n"
    add_completion_class(Zsh, "zsh")
    add_completion_class(Fish, "fish")
