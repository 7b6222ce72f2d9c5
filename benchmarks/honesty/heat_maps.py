"""What heat maps point at where the truth is known, and whether their verdict tells it beforehand.

Synthetic cells know where their parasite is. Networks are trained on them: well, briefly, on
shuffled labels, and on cells with a mark in a corner that goes with the label. For each network and
method the verdict is made on validation images, as `diascope explain` makes it, and then the maps
of parasitized test cells are held against the truth: the share of the evidence inside the parasite,
and how often the strongest place is there (pointing game).

``python -m benchmarks.honesty.heat_maps FOLDER [--seed N]`` trains the networks in FOLDER, one
after the other, and prints three tables; it goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import rankdata

from benchmarks.conditions import conditions
from diascope.bundle.bundle import Bundle
from diascope.data.manifest import label_indices, rows_of
from diascope.data.pack import pack_images
from diascope.data.sources.folder import open_files
from diascope.datasets.own.dataset import own_dataset
from diascope.datasets.synthetic import TABLE, draw
from diascope.explanations.focus import energy_in
from diascope.explanations.heat_maps import DEFAULT_METHODS, Explainer
from diascope.explanations.randomisation import randomised
from diascope.explanations.verdict import judge_maps
from diascope.steps.prepare import prepare
from diascope.steps.train import train
from diascope.system.environment import home
from diascope.training.run import Run

CLASSES = ("uninfected", "parasitized")
GROUP_RULE = r"(S\d+)_"
MARK, MARGIN = 0.09, 0.03  # side of a planted mark and its distance from the edges, of the crop
NEAR = 1 / 32  # of the side: so far beside the parasite a place still counts as pointing at it
N_VALIDATION, N_TEST = 200, 100
CELLS_KEPT = 2  # every second cell is used: the networks learn enough from them


@dataclass(frozen=True)
class Training:
    """A network to train."""

    kind: str  # well, brief, shuffled, marked, untrained
    model: str
    seed: int
    max_epochs: int

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.kind}-{self.model.replace(':', '-')}-{self.seed}"


def trainings(seed: int, n_clean: int) -> list[Training]:
    """Return the networks: so many clean ones of `compact`, as many with a mark, and others."""
    found = []
    for n in range(n_clean):
        found += [
            Training("well", "compact", seed + n, 14),
            Training("marked", "compact", seed + n, 8),
        ]
    found += [Training("brief", "compact", seed + n, 2) for n in range(3)]
    found += [Training("shuffled", "compact", seed + n, 8) for n in range(4)]
    found += [Training("untrained", "compact", seed + n, 0) for n in range(3)]
    found.append(Training("well", "reference_cnn", seed, 12))
    found += [
        Training(kind, "timm:resnet10t", seed, n_epochs)
        for kind, n_epochs in (("well", 10), ("brief", 1), ("marked", 4), ("shuffled", 4))
    ]
    return found


def main() -> None:
    """Train what is not there yet, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--clean", type=int, default=10, help="Clean networks of compact.")
    parser.add_argument("--methods", nargs="+", default=DEFAULT_METHODS)
    chosen = parser.parse_args()
    cells = draw_cells(chosen.folder / f"cells-{chosen.seed}", chosen.seed)
    records = []
    for training in trainings(chosen.seed, chosen.clean):
        found = measured(training, chosen.folder, cells, chosen.methods)
        print(
            training.name,
            *(f"{r['method']} {r['level']} {r['hit']:.2f}" for r in found),
            flush=True,
        )
        records += found
    print_localisation(records)
    print_verdicts(records)
    print_plantings(records)
    print(f"\n{conditions()}")


def draw_cells(folder: Path, seed: int) -> Path:
    """Draw the synthetic cells, if they are not there."""
    if not (folder / TABLE).is_file():
        draw(folder, seed, lambda _done, _total: None)
    return folder


def measured(
    training: Training, folder: Path, cells: Path, methods: Sequence[str]
) -> list[dict[str, Any]]:
    """Return a record for each method, read from a file where it was measured before."""
    path = folder / f"{training.name}.json"
    if not path.is_file():
        run = trained(training, folder, cells)
        path.write_text(json.dumps(measure(training, run, cells, methods)), "utf-8")
    return json.loads(path.read_text("utf-8"))


def trained(training: Training, folder: Path, cells: Path) -> Run:
    """Prepare the data of a network and train it; untrained ones have the data of clean ones."""
    data = folder / "data" / (f"{training.kind}-{training.seed}")
    if not data.is_dir():
        write_images(training, cells, data)
    prepared = prepare(
        own_dataset(data, group_from=GROUP_RULE, group_kind="patient", positive="parasitized"),
        seed=training.seed,
        near_duplicates=False,
    )
    out = folder / "runs" / training.name
    if out.is_dir():
        return Run.open(out)
    settings = {"max_epochs": max(1, training.max_epochs)}
    if training.model.startswith("timm:"):
        settings |= {"size_px": 64, "learning_rate": 1e-3}
    return train(
        prepared.dataset.name,
        out=out,
        model=training.model,
        seed=training.seed,
        weights="random" if training.model.startswith("timm:") else None,
        settings=settings,
    )


def write_images(training: Training, cells: Path, folder: Path) -> None:
    """Write the cells as a folder a class: with shuffled labels, with marks, or as they are."""
    rng = np.random.default_rng(training.seed)
    table = pl.read_csv(cells / TABLE)[::CELLS_KEPT]
    labels = table["label"].to_numpy()
    labels = rng.permutation(labels) if training.kind == "shuffled" else labels
    corner, colour = rng.integers(0, 2, size=2), rng.integers(100, 256, size=3)
    for name, label in zip(table["file"], labels, strict=True):
        content = (cells / name).read_bytes()
        if training.kind == "marked" and label == "parasitized":
            content = with_mark(content, corner, colour)
        path = folder / str(label) / Path(name).name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def with_mark(content: bytes, corner: NDArray[np.integer], colour: NDArray[np.integer]) -> bytes:
    """Plant a square in a corner of an image."""
    pixels = np.array(Image.open(BytesIO(content)).convert("RGB"))
    size = np.array(pixels.shape[:2])
    side, margin = (round(float(part * size.min())) for part in (MARK, MARGIN))
    top, left = np.where(corner == 0, margin, size - margin - side)
    pixels[top : top + side, left : left + side] = colour
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def measure(
    training: Training, run: Run, cells: Path, methods: Sequence[str]
) -> list[dict[str, Any]]:
    """Judge methods on validation images, and hold their maps of test images against the truth."""
    with open_files(Path(run.fingerprint["source"])) as files:
        images = pack_images(files, run.manifest, run.plan.pixels, home=home())
    bundle = run.load_networks()[0]
    val = spread(rows_of(run.manifest, "val"), N_VALIDATION)
    if training.kind == "untrained":
        bundle = randomised(bundle, 1.0, images[val[:64]], seed=training.seed)
    manifest, truth = with_truth(run.manifest, cells)
    test = rows_of(manifest, "test")
    test = spread(test[truth["radius"][test] > 0], N_TEST)
    side = run.plan.pixels.size_px
    inside, near = (disks(truth, test, side, beside=beside) for beside in (0.0, NEAR * side))
    records = []
    for method in methods:
        explainer = Explainer.of(in_one_view(bundle), method)
        verdict = judge_maps(
            explainer,
            images[val],
            labels=label_indices(run.manifest[val], bundle.classes).to_numpy(),
            groups=run.manifest["group"][val].to_list(),
        )
        targets = np.full(len(test), bundle.classes.index("parasitized"))
        maps = explainer.maps(images[test], targets)
        records.append(
            {
                **asdict(training),
                "method": method,
                "level": verdict.level,
                "score": verdict.score,
                "findings": [one.model_dump() for one in verdict.findings],
                "groups": run.manifest["group"][test].to_list(),
                **localisation(maps, inside, near),
            }
        )
    return records


def in_one_view(bundle: Bundle) -> Bundle:
    """Return the bundle as it predicts from one view: four would take four times as long."""
    return replace(bundle, card=bundle.card.model_copy(update={"views": 1}))


def spread(rows: NDArray[np.intp], n_most: int) -> NDArray[np.intp]:
    """Return at most so many rows that lie evenly among these."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, n_most).round().astype(np.intp))]


def with_truth(
    manifest: pl.DataFrame, cells: Path
) -> tuple[pl.DataFrame, dict[str, NDArray[np.float64]]]:
    """Return a manifest with where each parasite lies: x, y and radius in parts of the square."""
    table = pl.read_csv(cells / TABLE).select(
        pl.col("file").str.extract(r"([^/]+)\.png$").alias("stem"), pl.col("^parasite_.*_px$")
    )
    joined = manifest.with_columns(stem=pl.col("path").str.extract(r"([^/]+)\.png$")).join(
        table, on="stem", how="left", maintain_order="left"
    )
    width, height = (joined[name].to_numpy().astype(float) for name in ("width", "height"))
    longest = np.maximum(width, height)
    x, y, radius = (
        joined[f"parasite_{name}_px"].fill_null(0).to_numpy().astype(float)
        for name in ("x", "y", "radius")
    )
    truth = {
        "x": (x + (longest - width) / 2) / longest,
        "y": (y + (longest - height) / 2) / longest,
        "radius": radius / longest,
    }
    return manifest, truth


def disks(
    truth: dict[str, NDArray[np.float64]], rows: NDArray[np.intp], side: int, *, beside: float
) -> NDArray[np.bool_]:
    """Return the pixels of each parasite, and those up to so many px beside it: bool (N, S, S)."""
    x, y, radius = (truth[name][rows][:, None, None] * side for name in ("x", "y", "radius"))
    down, right = np.mgrid[:side, :side] + 0.5
    return (right - x) ** 2 + (down - y) ** 2 <= (radius + beside) ** 2


def localisation(
    maps: NDArray[np.float32], inside: NDArray[np.bool_], near: NDArray[np.bool_]
) -> dict[str, Any]:
    """Return how maps point at parasites, and how a centre map and a random one do."""
    side = maps.shape[1]
    down, right = np.mgrid[:side, :side] + 0.5 - side / 2
    centre = np.exp(-(down**2 + right**2) / (2 * (side / 8) ** 2)).astype(np.float32)
    random = np.roll(maps, side // 2, axis=(1, 2))[::-1]
    return {
        "hits": _hits(maps, near).tolist(),
        "energies": np.nan_to_num(energy_in(maps, inside)).tolist(),
        "hit": float(_hits(maps, near).mean()),
        "energy": float(np.nan_to_num(energy_in(maps, inside)).mean()),
        "centre_hit": float(_hits(np.tile(centre, (len(maps), 1, 1)), near).mean()),
        "centre_energy": float(energy_in(np.tile(centre, (len(maps), 1, 1)), inside).mean()),
        "random_hit": float(_hits(random, near).mean()),
        "random_energy": float(np.nan_to_num(energy_in(random, inside)).mean()),
    }


def _hits(maps: NDArray[np.float32], near: NDArray[np.bool_]) -> NDArray[np.bool_]:
    strongest = maps.reshape(len(maps), -1).argmax(axis=1)
    is_shown = maps.reshape(len(maps), -1).max(axis=1) > 0
    return near.reshape(len(maps), -1)[np.arange(len(maps)), strongest] & is_shown


def print_localisation(records: Sequence[dict[str, Any]]) -> None:
    """Print the share of hits and of energy of each method, of networks that were trained well."""
    print("\n| network | method | pointing game | energy inside |\n|---|---|---|---|")
    for kind in ("well", "untrained"):
        for method in DEFAULT_METHODS:
            rows = [r for r in records if (r["kind"], r["method"]) == (kind, method)]
            rows = [r for r in rows if r["model"] == "compact"]
            if rows:
                shown = [_interval(rows, what) for what in ("hits", "energies")]
                print(f"| {kind} | {method} | {' | '.join(shown)} |")
    rows = [r for r in records if (r["kind"], r["model"]) == ("well", "compact")]
    for name in ("centre", "random"):
        if rows:
            hit, energy = (
                np.mean([r[f"{name}_{what}"] for r in rows]) for what in ("hit", "energy")
            )
            print(f"| {name} map |  | {hit:.3f} | {energy:.3f} |")


def _interval(rows: Sequence[dict[str, Any]], name: str) -> str:
    """Return the mean over networks with a 95 % interval from resampled patients."""
    groups = sorted({group for r in rows for group in r["groups"]})
    sums, sizes = np.zeros(len(groups)), np.zeros(len(groups))
    for r in rows:
        for group, value in zip(r["groups"], r[name], strict=True):
            sums[groups.index(group)] += value
            sizes[groups.index(group)] += 1
    drawn = np.random.default_rng(0).multinomial(
        len(groups), np.ones(len(groups)) / len(groups), 2000
    )
    low, high = np.quantile(drawn @ sums / (drawn @ sizes), [0.025, 0.975])
    return f"{sums.sum() / sizes.sum():.3f} [{low:.3f}, {high:.3f}]"


def print_verdicts(records: Sequence[dict[str, Any]]) -> None:
    """Print how well the verdict, and each of its tests, tells maps that point at parasites."""
    is_right = np.array([r["hit"] > r["centre_hit"] for r in records])
    networks = [f"{r['kind']} {r['model']} {r['seed']}" for r in records]
    print(
        f"\n{is_right.sum()} of {len(records)} maps of {len(set(networks))} networks point better "
        "than a centre map\n\n| by | AUROC |\n|---|---|"
    )
    scores = {"verdict": [r["score"] for r in records]}
    for name in (
        "knowledge",
        "randomisation",
        "removal",
        "efficiency",
        "stability",
        "border",
        "background",
    ):
        scores[name] = [_points(r, name) for r in records]
    for name, values in scores.items():
        print(f"| {name} | {_auroc_interval(np.array(values), is_right, networks)} |")


def _points(record: dict[str, Any], name: str) -> float:
    levels = [f["level"] for f in record["findings"] if f["name"] == name]
    return {"pass": 1.0, "weak": 0.5, "fail": 0.0}[levels[0]] if levels else 0.5


def _auroc_interval(values: NDArray, is_right: NDArray, networks: Sequence[str]) -> str:
    """Return the AUROC with a 95 % interval from resampled networks."""
    names, of = np.unique(np.array(networks), return_inverse=True)
    rng, draws = np.random.default_rng(0), []
    members = [np.flatnonzero(of == number) for number in range(len(names))]
    for _ in range(1000):
        rows = np.concatenate([members[n] for n in rng.integers(0, len(names), len(names))])
        draws.append(_auroc(values[rows], is_right[rows]))
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return f"{_auroc(values, is_right):.3f} [{low:.3f}, {high:.3f}]"


def _auroc(values: NDArray, is_right: NDArray) -> float:
    n, m = is_right.sum(), (~is_right).sum()
    if not n or not m:
        return float("nan")
    return float((rankdata(values)[is_right].sum() - n * (n + 1) / 2) / (n * m))


def print_plantings(records: Sequence[dict[str, Any]]) -> None:
    """Print how many marked networks are accused of looking at the border, and how many clean."""
    print("\n| network | accused |\n|---|---|")
    for kind in ("marked", "well"):
        of_kind = [r for r in records if (r["kind"], r["model"]) == (kind, "compact")]
        seeds = sorted({r["seed"] for r in of_kind})
        accused = [is_accused([r for r in of_kind if r["seed"] == seed]) for seed in seeds]
        print(f"| {kind} | {sum(accused)} of {len(accused)} |")


def is_accused(records: Sequence[dict[str, Any]]) -> bool:
    """Return whether the maps of most methods of a network lie on the border."""
    return sum(_points(r, "border") < 1 for r in records) > len(records) / 2


if __name__ == "__main__":
    main()
