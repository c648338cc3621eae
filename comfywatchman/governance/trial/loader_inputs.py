"""What trials showed of the loaders of packs, for whoever judges workflows."""

from __future__ import annotations

from collections.abc import Iterator

from comfywatchman.base.files import read_state
from comfywatchman.comfyui.loaders.table import LoaderInput
from comfywatchman.comfyui.references.observed import ObservedLoaders
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import Judgement, Transaction


def read_observed_loaders(layout: GovLayout) -> ObservedLoaders:
    """Return what the trials of a governed root showed; of several looks at the same class the last counts.

    A transaction that cannot be read tells nothing, and stays where it is.
    """
    inputs: dict[str, tuple[LoaderInput, ...]] = {}
    directories: dict[str, tuple[str, ...]] = {}
    for judgement in _read_judgements(layout):
        for class_type, folders in judgement.model_folders.items():
            places = judgement.widget_places.get(class_type, {})
            inputs[class_type] = tuple(
                _build_loader_input(class_type, name, keys, places.get(name)) for name, keys in sorted(folders.items())
            )
        directories.update(judgement.model_directories)
    return ObservedLoaders(tuple(one for listed in inputs.values() for one in listed), directories)


def _read_judgements(layout: GovLayout) -> Iterator[Judgement]:
    try:
        paths = sorted(layout.transactions.glob("*.json"))
    except OSError:
        # A folder that may not be looked into tells nothing; the checks of the environment say so.
        return
    for path in paths:
        found = read_state(path, Transaction, only_look=True)
        if isinstance(found, Transaction) and found.judgement is not None:
            yield found.judgement


def _build_loader_input(class_type: str, name: str, keys: str, place: int | None) -> LoaderInput:
    folder, *also = keys.split(",")
    return LoaderInput(class_type, name, folder, place, "a trial of the pack on this host", "high", tuple(also))
