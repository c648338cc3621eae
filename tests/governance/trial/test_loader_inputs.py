from __future__ import annotations

from pathlib import Path

from comfywatchman.base.files import to_json
from comfywatchman.comfyui.loaders.table import LoaderInput
from comfywatchman.governance.store.layout import GovLayout
from comfywatchman.governance.store.records import Judgement, Transaction
from comfywatchman.governance.trial.loader_inputs import read_observed_loaders

EVIDENCE = "a trial of the pack on this host"


def write(layout: GovLayout, number: int, judgement: Judgement | None) -> None:
    layout.transactions.mkdir(parents=True, exist_ok=True)
    txid = f"20260101T00000{number}Z-{number:08x}"
    transaction = Transaction(txid=txid, node_id="mine", started_at="", judgement=judgement)
    (layout.transactions / f"{txid}.json").write_bytes(to_json(transaction))


def tried(**inputs: str) -> Judgement:
    return Judgement(how="server", exit_code=0, model_folders={"Loader": inputs}, widget_places={"Loader": {"name": 2}})


def test_latest_trial_of_a_class_wins(tmp_path: Path) -> None:
    layout = GovLayout(tmp_path)
    write(layout, 2, tried(name="vae,checkpoints"))
    write(layout, 1, tried(name="loras", other="vae"))
    write(layout, 3, None)
    assert read_observed_loaders(layout).inputs == (
        LoaderInput("Loader", "name", "vae", 2, EVIDENCE, "high", also_folders=("checkpoints",)),
    )


def test_directories_of_pack_folders_are_read(tmp_path: Path) -> None:
    write(GovLayout(tmp_path), 1, Judgement(how="server", exit_code=0, model_directories={"odd_things": ("odd",)}))
    assert read_observed_loaders(GovLayout(tmp_path)).directories == {"odd_things": ("odd",)}


def test_damaged_transaction_is_skipped_and_kept(tmp_path: Path) -> None:
    layout = GovLayout(tmp_path)
    write(layout, 1, tried(name="vae"))
    damaged = layout.transactions / "20260101T000009Z-00000009.json"
    damaged.write_text("{")
    assert [one.folder for one in read_observed_loaders(layout).inputs] == ["vae"]
    assert damaged.read_text() == "{"


def test_root_without_trials_yields_nothing(tmp_path: Path) -> None:
    assert read_observed_loaders(GovLayout(tmp_path)).inputs == ()


def test_unreadable_folder_yields_nothing(tmp_path: Path) -> None:
    assert read_observed_loaders(GovLayout(tmp_path / ("a" * 300))).inputs == ()
