"""The model inputs of custom nodes that trials observed."""

from __future__ import annotations

from collections.abc import Iterator

from comfywatchman.base.state.state_file import read_state
from comfywatchman.comfyui.loaders.table import LoaderInput
from comfywatchman.comfyui.references.observed import ObservedLoaders
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import Judgement, Transaction


def read_observed_loaders(layout: GovLayout) -> ObservedLoaders:
    """Return the observations of all trials in a governed root; the latest trial of a class wins.

    Unreadable transactions are skipped and left in place.
    """
    inputs_by_class: dict[str, list[LoaderInput]] = {}
    directories: dict[str, tuple[str, ...]] = {}
    for judgement in _read_judgements(layout):
        for class_type, folders in judgement.model_folders.items():
            widget_indexes = judgement.widget_places.get(class_type, {})
            inputs_by_class[class_type] = [
                _build_loader_input(class_type, name, keys, widget_indexes.get(name))
                for name, keys in sorted(folders.items())
            ]
        directories.update(judgement.model_directories)
    inputs = [loader_input for group in inputs_by_class.values() for loader_input in group]
    return ObservedLoaders(tuple(inputs), directories)


def _read_judgements(layout: GovLayout) -> Iterator[Judgement]:
    try:
        paths = sorted(layout.transactions.glob("*.json"))
    except OSError:
        # An unreadable folder yields nothing here; the checks of the environment report it.
        return
    for path in paths:
        transaction = read_state(path, Transaction, only_look=True)
        if isinstance(transaction, Transaction) and transaction.judgement is not None:
            yield transaction.judgement


def _build_loader_input(class_type: str, name: str, keys: str, widget_index: int | None) -> LoaderInput:
    folder, *also_folders = keys.split(",")
    return LoaderInput(
        class_type,
        name,
        folder,
        widget_index,
        evidence="a trial of the pack on this host",
        confidence="high",
        also_folders=tuple(also_folders),
    )
