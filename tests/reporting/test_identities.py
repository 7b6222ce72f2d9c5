"""Who the patients are stays out of every result: true ids, paths, and metadata that tell it."""

from __future__ import annotations

import base64
import html
import re
from pathlib import Path

import polars as pl
import pytest
from conftest import SMALL
from drawn.own_images import CLASSES, picture

from diascope.data.identities import identity_columns, subgroup_columns
from diascope.datasets.own.dataset import own_dataset
from diascope.reporting.pseudonyms import pseudonyms
from diascope.steps.audit import audit
from diascope.steps.compare import compare
from diascope.steps.evaluate import evaluate
from diascope.steps.prepare import prepare
from diascope.steps.report import report
from diascope.steps.show import show
from diascope.steps.train import train

N_PATIENTS = 15
SURNAMES = "Abelard Brontolo Cavaliere Dostert Eisenhut Fuchsberger Gundelach Hallstein Immerwahr"
SURNAMES += " Jankowiak Krautheim Lindwurm Moosbrugger Niederalt Obermoser"
KEPT_OUT = {
    "patient_name": "a name",
    "DateOfBirth": "a date of birth",
    "mrn": "an id",
    "original": "a path",
    "seen": "a date",
    "code": "each group has a value of its own",
}


def rows_of_hospital(root: Path) -> list[dict[str, str]]:
    rows = []
    for patient, surname in enumerate(SURNAMES.split()):
        for n in range(4):
            path = f"images/Zq{patient:03}_{n}.png"
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            picture(10 * patient + n, is_bright=n % 2 == 1).save(root / path)
            rows.append(
                {
                    "path": path,
                    "label": CLASSES[n % 2],
                    "group": f"Zq{patient:03}",
                    "patient_name": f"{surname}, Wilhelmine",
                    "DateOfBirth": f"19{40 + patient}-03-{patient + 10}",
                    "mrn": str(7_700_000 + patient % 4),
                    "original": f"/home/anna.mueller/scans/{patient % 3}.dcm",
                    "seen": f"{11 + patient % 3}.05.2019",
                    "code": f"Kx-{patient:02}-{surname[:2]}",
                    "age": str(30 + patient),
                    "site": f"site {patient % 2}",
                }
            )
    return rows


def hospital(root: Path) -> Path:
    table = root / "table.csv"
    pl.DataFrame(rows_of_hospital(root)).write_csv(table)
    return table


def text_of(path: Path) -> str:
    """Return all text of a file, that of pages within attributes and embedded drawings too.

    The bytes of embedded photographs are no text, and hold any three letters.
    """
    text = path.read_text("utf-8")
    embedded = re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", text)
    drawn = [base64.b64decode(one).decode("utf-8", "replace") for one in embedded]
    text = re.sub(r"data:image/[a-z+]+;base64,[A-Za-z0-9+/=]+", "", text)
    return html.unescape("\n".join([text, *drawn]))


def test_no_result_tells_who_the_patients_are(tmp_path):
    root = tmp_path / "anna.mueller"
    prepared = prepare(own_dataset(hospital(root), name="ward"))
    run = train("ward", settings=[*SMALL, "max_epochs=1"], out=tmp_path / "runs" / "first")
    other = train("ward", settings=[*SMALL, "max_epochs=1"], seed=1, out=tmp_path / "runs" / "b")
    metrics = [evaluate(one, split=split) for one in (run, other) for split in ("val", "test")]
    report(run)
    results = [run.folder / name for name in ("report.html", "data_card.md", "log.jsonl")]
    results += [run.folder / "bundle" / "README.md", run.folder / "bundle" / "card.json"]
    results += [run.metrics_path("val"), run.metrics_path("test")]
    results += [compare([run, other], out=tmp_path / "comparison")[0]]
    results += [audit("ward", out=tmp_path / "audit")[0], show("ward", out=tmp_path / "looks")]
    results += [tmp_path / "audit" / "audit.json", tmp_path / "comparison" / "comparison.json"]
    true = {"anna.mueller", "Zq0", "Wilhelmine"}
    for name in ("image_id", "path", "group", *KEPT_OUT):
        true |= set(prepared.manifest[name].cast(pl.String))
    for path in results:
        text = text_of(path)
        assert not {word for word in true if word in text}, path
    for one in metrics:
        assert [part["name"] for part in one["subgroups"]["divisions"]] == ["age", "site"]
    card = (run.folder / "data_card.md").read_text("utf-8").replace("\\", "")
    assert "Metadata besides the label: age, site." in card
    for name, reason in KEPT_OUT.items():
        assert f"{name} ({reason})" in card


def test_columns_that_look_like_identities_are_found_with_the_reason(tmp_path):
    manifest = pl.DataFrame(rows_of_hospital(tmp_path))
    assert identity_columns(manifest) == KEPT_OUT
    assert subgroup_columns(manifest) == ["age", "site"]


def columns(**values) -> pl.DataFrame:
    n = len(next(iter(values.values())))
    return pl.DataFrame({"group": [f"p{k // 2}" for k in range(n)], **values})


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Vorname", ["Anna", "Ben"] * 6),
        ("referring physician", ["Dr. Anna Meier", "Ben Koch"] * 6),
        ("patientId", [1, 2] * 6),
        ("AccessionNumber", ["a", "b"] * 6),
        ("contact", ["a@b.org", "c@d.org"] * 6),
        ("where", [r"C:\Users\anna\1.png", r"D:\x\2.png"] * 6),
        ("shown", ["IMG_1.jpg", "IMG_2.jpg"] * 6),
        ("when", ["2020-01-02", "2020-02-03 10:11"] * 6),
        ("number", [70_001 + k // 2 for k in range(12)]),
        ("twin", [f"p{k // 2}" for k in range(12)]),
    ],
)
def test_each_kind_of_identity_is_kept_out(name, values):
    assert list(identity_columns(columns(**{name: values}))) == [name]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("age", [31.5 + k for k in range(12)]),
        ("dose_mg", [20 * (k // 2) for k in range(12)]),
        ("hospital", ["General Hospital", "St. Mary"] * 6),
        ("hospital_name", ["General", "Mary"] * 6),
        ("ManufacturersModelName", ["Axio", "Scan"] * 6),
        ("localization", ["upper arm", "Lower Leg"] * 6),
        ("reader", ["R1", "R2"] * 6),
        ("stain", ["H/E", "PAS"] * 6),
        ("year_of_birth", [1950, 1960] * 6),
        ("file_type", ["png", "tif"] * 6),
        ("sex", ["f", None] * 6),
        ("empty", [None] * 12),
        ("boxes", [[1, 2]] * 12),
    ],
)
def test_what_describes_groups_and_names_no_one_stays(name, values):
    assert identity_columns(columns(**{name: values})) == {}


def test_names_that_people_write_into_answers_and_run_names_are_withheld(tmp_path):
    manifest = pl.DataFrame(rows_of_hospital(tmp_path)).with_columns(
        image_id=pl.col("path"), sha256=pl.col("path")
    )
    names = pseudonyms(manifest, "patient")
    assert "Abelard" not in names.cleaned("Scans of Abelard, Wilhelmine (7700001)")
    assert "7700001" not in names.cleaned("Scans of Abelard, Wilhelmine (7700001)")
    assert names.cleaned("on 2019-05-11") == "on 2019-05-11"
