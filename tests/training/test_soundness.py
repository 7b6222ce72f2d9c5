"""What lies between the steps: every file is checked where it is read, a cache is made again."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import SMALL
from drawn.seals import begin_again, edit_json, replace_predictions, reseal

from diascope.data.ledger import count_openings
from diascope.data.pack import DAMAGED, pack_folder
from diascope.data.pixels import Pixels
from diascope.data.prepared import load_prepared
from diascope.errors import RunError
from diascope.steps.compare import compare
from diascope.steps.evaluate import evaluate
from diascope.steps.predict import predict
from diascope.steps.prepare import prepare
from diascope.steps.report import report
from diascope.steps.train import train
from diascope.system.sealed import read_sealed, write_sealed
from diascope.training.exam import read_images
from diascope.training.run import Run, bundle_folder

PIXELS = Pixels(16, "pad", "black")


def flip(path: Path, place: int = -5) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def reverse_rows(path: Path) -> None:
    images = np.load(path)
    np.save(path, images[::-1])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def forget_the_last_line(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def garbage(path: Path) -> None:
    path.write_bytes(b"\x00garbage")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("shard-00000.npy", reverse_rows),
        ("shard-00000.npy", cut),
        ("shard-00000.npy", Path.unlink),
        ("shard-00000.npy", flip),
        ("shard-00000.npy", garbage),
        ("shard-00000.crc32.npy", flip),
        ("shard-00000.crc32.npy", Path.unlink),
        ("pack.json", flip),
        ("pack.json", garbage),
    ],
)
def test_a_damaged_pack_is_made_again_with_one_line(prepared, cells, home, name, damage):
    said: list[str] = []
    whole = read_images(cells, prepared.manifest, PIXELS, lambda p: said.append(p.remark)).copy()
    assert set(said) == {""}
    damage(pack_folder(home, prepared.manifest, PIXELS) / name)
    said.clear()
    again = read_images(cells, prepared.manifest, PIXELS, lambda p: said.append(p.remark))
    assert np.array_equal(again, whole)
    assert set(said) == (set() if name == "pack.json" else {DAMAGED})  # that is written anew
    said.clear()
    assert np.array_equal(
        read_images(cells, prepared.manifest, PIXELS, lambda p: said.append(p.remark)), whole
    )
    assert not said


def test_the_command_says_that_the_cache_was_damaged_and_gives_the_same_figures(
    evaluated, call_here, home
):
    whole = evaluated.metrics("test")["estimates"]
    evaluated.metrics_path("test").unlink()
    reverse_rows(next(home.glob("packs/*/shard-00000.npy")))
    done = call_here("evaluate", evaluated.folder)
    assert done.returncode in (0, None), done.stderr
    assert done.stderr.count(DAMAGED) == 1
    assert evaluated.metrics("test")["estimates"] == whole


@pytest.mark.parametrize("name", ["last.safetensors", "best.safetensors"])
@pytest.mark.parametrize("damage", [flip, cut, garbage])
def test_training_does_not_go_on_from_a_damaged_checkpoint(prepared, tmp_path, name, damage):
    settings = [*SMALL, "selection=best_val_accuracy"]

    def stop(sign):
        if sign.stage == "training" and sign.done == 4:  # in the second epoch
            raise KeyboardInterrupt

    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train("malaria", settings=settings, out=out, progress=stop)
    damage(out / "checkpoints" / "0" / name)
    if name == "best.safetensors":  # whichever epoch is chosen, the file is read
        last = out / "checkpoints" / "0" / "last.safetensors"
        shutil.copy(out / "checkpoints" / "0" / name, last)
    with pytest.raises(RunError, match=r"checkpoint last\.safetensors is(.|\n)*do: Remove the"):
        train("malaria", settings=settings, out=out)
    shutil.rmtree(out / "checkpoints" / "0")
    assert train("malaria", settings=settings, out=out).is_trained


@pytest.mark.parametrize(
    "name", ["recipe.yaml", "plan.json", "manifest.parquet", "fingerprint.json", "provenance.json"]
)
@pytest.mark.parametrize("damage", [flip, cut, garbage, Path.unlink])
def test_a_damaged_run_is_refused_in_one_message_that_names_the_file(evaluated, name, damage):
    damage(evaluated.folder / name)
    with pytest.raises(RunError) as refused:
        report(evaluated.folder)
    assert name in str(refused.value)


@pytest.mark.parametrize("damage", [flip, cut, garbage, forget_the_last_line])
def test_a_damaged_log_is_refused(evaluated, damage):
    damage(evaluated.folder / "log.jsonl")
    with pytest.raises(RunError, match=r"log\.jsonl|no format number"):
        report(evaluated.folder)


def test_every_epoch_is_a_line_of_the_log_after_the_seal(trained):
    first, *lines = map(json.loads, (trained.folder / "log.jsonl").read_text().splitlines())
    assert set(first) == {"format", "sha256"}
    assert [line["epoch"] for line in lines] == [line["epoch"] for line in trained.log] == [1, 2]


def test_metrics_that_were_edited_are_refused(evaluated):
    path = evaluated.metrics_path("test")
    metrics = json.loads(path.read_text())
    metrics["estimates"]["auroc"]["value"] = 0.999
    path.write_text(json.dumps(metrics))
    for step in (report, evaluate):
        with pytest.raises(RunError, match=r"test\.json is damaged, or was changed"):
            step(evaluated.folder)
    path.write_text(json.dumps({"auroc": 0.999}))
    with pytest.raises(RunError, match="no format number"):
        report(evaluated.folder)
    path.write_text(json.dumps({**metrics, "format": 1}))
    with pytest.raises(RunError, match="format 1, and this version of diascope reads 2"):
        report(evaluated.folder)


@pytest.mark.parametrize(
    ("part", "key"),
    [("estimates", "auroc"), ("estimates", "brier"), ("macro", "f1"), ("per_class", "uninfected")],
)
def test_metrics_that_were_edited_and_sealed_again_do_not_follow_from_the_predictions(
    evaluated, part, key
):
    metrics = evaluated.metrics("test")
    edited = metrics[part][key]["recall"] if part == "per_class" else metrics[part][key]
    edited["value"] = 0.999
    write_sealed(evaluated.metrics_path("test"), metrics)
    with pytest.raises(RunError, match=rf"do not follow from the predictions: {part} {key}"):
        report(evaluated.folder)


@pytest.mark.parametrize("change", [{"n_images": 10_000}, {"confusion": [[9, 0], [0, 9]]}])
def test_counts_that_were_edited_and_sealed_again_are_noticed(evaluated, change):
    reseal(evaluated.metrics_path("test"), **change)
    with pytest.raises(RunError, match="do not follow from the predictions"):
        evaluate(evaluated.folder)


def test_predictions_that_were_edited_are_refused(evaluated):
    path = evaluated.predictions_path("test")
    table, seal = pl.read_parquet(path), pl.read_parquet_metadata(path)["diascope"]
    table.with_columns(predicted="label").write_parquet(path, metadata={"diascope": seal})
    with pytest.raises(RunError, match="do not match their checksum"):
        report(evaluated.folder)
    table.with_columns(predicted="label").write_parquet(path)
    with pytest.raises(RunError, match="no format number"):
        report(evaluated.folder)
    table.drop("logit_0").write_parquet(path, metadata={"diascope": seal})
    with pytest.raises(RunError, match=r"checksum|cannot be read"):
        report(evaluated.folder)
    garbage(path)
    with pytest.raises(RunError, match="predictions cannot be read"):
        report(evaluated.folder)


def test_predictions_of_another_run_are_not_those_of_the_metrics(evaluated):
    other = evaluated.predictions("test")
    replace(other, logits=other.logits[::-1]).save(evaluated.predictions_path("test"))
    with pytest.raises(RunError, match="metrics are of other predictions"):
        report(evaluated.folder)


def test_predictions_and_metrics_that_were_forged_together_are_not_those_of_the_ledger(evaluated):
    found = evaluated.predictions("test")
    better = replace(found, predicted=found.labels)
    replace_predictions(evaluated.folder, "test", better)
    with pytest.raises(RunError, match="do not follow"):
        report(evaluated.folder)
    metrics = read_sealed(evaluated.metrics_path("test"), fix="")
    from diascope.metrics.bootstrap import Resampling
    from diascope.metrics.evaluation import evaluate_predictions
    from diascope.metrics.scored import ScoredImages

    images = ScoredImages.of(better, evaluated.dataset.task, group_kind="patient")
    forged = {**metrics, **evaluate_predictions(images, Resampling(200), part="test")}
    write_sealed(evaluated.metrics_path("test"), forged)
    with pytest.raises(RunError, match="not those that the test-set access log knows"):
        report(evaluated.folder)


def test_a_run_that_was_moved_is_reported_and_one_on_another_machine_too(evaluated, home, tmp_path):
    moved = Run(shutil.move(evaluated.folder, tmp_path / "moved"))
    assert report(moved).is_file()
    shutil.rmtree(home / "ledger")
    assert report(Run(moved.folder)).is_file()


def test_recording_predictions_is_no_opening(evaluated, home):
    sha256s = evaluated.test_rows["sha256"].to_list()
    found = count_openings(home / "ledger", sha256s, run="")
    assert found is not None
    assert found.same_images == 1
    assert len((home / "ledger" / "predictions.jsonl").read_text().splitlines()) == 1


def test_classes_that_were_swapped_in_a_card_are_refused_everywhere(evaluated, cells, tmp_path):
    folder = bundle_folder(evaluated)
    classes = json.loads((folder / "card.json").read_text())["classes"]
    edit_json(folder / "card.json", classes=classes[::-1])
    image = next(cells.rglob("*.png"))
    for step in (
        lambda: predict(folder, [image], out=tmp_path / "p.csv"),
        lambda: predict(evaluated, [image], out=tmp_path / "p.csv"),
        lambda: evaluate(evaluated.folder),
        lambda: evaluate(evaluated.folder, split="val"),
    ):
        with pytest.raises(RunError, match=r"card\.json is damaged, or was changed"):
            step()


@pytest.mark.parametrize("key", ["threshold", "temperature", "mean"])
def test_any_value_of_a_card_is_sealed_but_not_how_it_is_written(trained, key):
    path = bundle_folder(trained) / "card.json"
    card = json.loads(path.read_text())
    path.write_text(json.dumps(dict(sorted(card.items()))))
    assert trained.load_networks()
    other = [0.1, 0.1, 0.1] if key == "mean" else 0.123
    path.write_text(json.dumps({**card, key: other}))
    with pytest.raises(RunError, match="does not match its checksum"):
        trained.load_networks()
    path.write_text(json.dumps({k: v for k, v in card.items() if k != "sha256"}))
    with pytest.raises(RunError, match="does not match its checksum"):
        trained.load_networks()


@pytest.mark.parametrize("name", ["manifest.parquet", "duplicates.parquet", "fingerprint.json"])
@pytest.mark.parametrize("damage", [flip, cut, garbage])
def test_damaged_prepared_data_are_refused_and_prepared_again(home, cells, name, damage):
    prepare("malaria", source=cells)
    damage(home / "datasets" / "malaria" / name)
    with pytest.raises(RunError, match=r"Run `diascope prepare`"):
        load_prepared("malaria")
    prepare("malaria", source=cells)
    assert load_prepared("malaria").manifest.height == 72


def test_a_manifest_whose_labels_were_edited_is_refused(prepared, home):
    path = home / "datasets" / "malaria" / "manifest.parquet"
    pl.read_parquet(path).with_columns(label=pl.lit("uninfected")).write_parquet(path)
    with pytest.raises(RunError, match=r"manifest\.parquet is damaged, or was changed"):
        load_prepared("malaria")


def test_a_damaged_audit_is_refused_by_the_report(evaluated, home):
    path = home / "datasets" / "malaria" / "audit.json"
    path.write_text('{"headlines": [], "labelled_sha256": "x"}')
    with pytest.raises(RunError, match=r"(.|\n)*diascope audit malaria"):
        report(evaluated.folder)


def test_a_run_of_another_recipe_file_is_not_resumed(trained):
    path = trained.folder / "recipe.yaml"
    path.write_text(path.read_text().replace("seed: 0", "seed: 1"))
    with pytest.raises(RunError, match=r"recipe\.yaml is damaged, or was changed"):
        _ = Run(trained.folder).recipe


def test_runs_are_compared_only_where_their_metrics_hold(evaluated, tmp_path):
    other = Run(shutil.copytree(evaluated.folder, tmp_path / "other"))
    begin_again(other.folder, plan=other.plan.changed("a test", seed=7))
    assert compare([evaluated, Run(other.folder)], out=tmp_path / "out")[0].is_file()
    edit_json(other.metrics_path("test"), n_images=3)
    with pytest.raises(RunError, match=r"test\.json"):
        compare([evaluated, Run(other.folder)], out=tmp_path / "out")


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are a Unix thing")
@pytest.mark.parametrize(("umask", "rights"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_files_of_a_bundle_and_a_run_follow_the_umask(trained, tmp_path, umask, rights):
    before = os.umask(umask)
    try:
        trained.load_networks()[0].save(tmp_path / "bundle")
        trained.predictions("val").save(tmp_path / "bundle" / "val.parquet")
    finally:
        os.umask(before)
    found = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "bundle").iterdir()}
    assert found == dict.fromkeys(found, rights)
    assert {"model.safetensors", "card.json", "val.parquet"} <= set(found)


def test_files_are_on_the_disk_before_they_get_their_name(tmp_path, monkeypatch):
    from diascope.system import files

    events: list[str] = []
    monkeypatch.setattr(files, "_put_on_disk", lambda path: events.append(f"disk {path.is_dir()}"))
    rename = Path.replace

    def replaced(path, target):
        events.append("name")
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", replaced)
    files.write_text(tmp_path / "a.txt", "x")
    assert events == ["disk False", "name", "disk True"]
    events.clear()
    with files.atomic_path(tmp_path / "cache.npy", is_cache=True) as temporary:
        temporary.write_text("x")
    assert events == ["name"]
