"""The nesting of ensembles: their order, each after the ensembles that it contains, and its limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .ensemble_settings import EnsembleSettings

MAX_NESTED = 32
"""Maximum number of ensembles within each other."""
MAX_CALLS = 10_000
"""Maximum number of modules that a request calls, those of nested ensembles included."""


def nested_order(ensembles: Sequence[EnsembleSettings]) -> list[EnsembleSettings]:
    """`ensembles`, each after the ensembles that it contains. Ensembles that contain themselves, directly or not, and
    those that contain them, are missing."""
    names = {ensemble.name for ensemble in ensembles}
    remaining = {each.name: {step.model_name for step in each.steps} & names for each in ensembles}
    containers: dict[str, list[str]] = {name: [] for name in remaining}
    for name, members in remaining.items():
        for member in members:
            containers[member].append(name)
    by_name = {ensemble.name: ensemble for ensemble in ensembles}
    ready = [name for name, members in remaining.items() if not members]
    for name in ready:  # grows
        for container in containers[name]:
            remaining[container].discard(name)
            if not remaining[container]:
                ready.append(container)
    return [by_name[name] for name in ready]


def nesting_problems(ensembles: Sequence[EnsembleSettings]) -> Iterator[str]:
    """Ensembles that contain themselves, or exceed `MAX_NESTED` or `MAX_CALLS`, each with its key path."""
    ordered = nested_order(ensembles)
    if len(ordered) < len({ensemble.name for ensemble in ensembles}):
        yield _circle(ensembles, {ensemble.name for ensemble in ordered})
        return
    position = {ensemble.name: i for i, ensemble in enumerate(ensembles)}
    depths, calls = dict[str, int](), dict[str, int]()
    for ensemble in ordered:
        members = [step.model_name for step in ensemble.steps]
        depths[ensemble.name] = 1 + max(depths.get(name, 0) for name in members)
        calls[ensemble.name] = sum(calls.get(name, 1) for name in members)
        where = f"ensembles[{position[ensemble.name]}].steps"
        if depths[ensemble.name] > MAX_NESTED:
            yield f"{where}: {depths[ensemble.name]} ensembles are nested; at most {MAX_NESTED} are allowed"
            return
        if calls[ensemble.name] > MAX_CALLS:
            yield f"{where}: a request would call {calls[ensemble.name]} modules; at most {MAX_CALLS} are allowed"
            return


def _circle(ensembles: Sequence[EnsembleSettings], ordered: set[str]) -> str:
    """The problem of one circle: each ensemble that is not in `ordered` contains another such ensemble."""
    members = {each.name: each for each in ensembles if each.name not in ordered}
    path = [next(iter(members))]
    while path[-1] not in path[:-1]:
        path.append(next(s.model_name for s in members[path[-1]].steps if s.model_name in members))
    circle = path[path.index(path[-1]) :]
    position = next(i for i, ensemble in enumerate(ensembles) if ensemble.name == circle[0])
    text = " -> ".join(circle if len(circle) <= 8 else [*circle[:6], "...", circle[-1]])
    return f"ensembles[{position}].steps: the ensemble contains itself: {text}"
