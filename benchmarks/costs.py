"""What each stage costs for 100,000 to a billion images, by what was measured.

``python -m benchmarks.costs`` prints the tables; ``--core-hour`` and ``--tb-month`` change the
prices, which are assumptions and not quotes. ``--write`` puts the tables into docs/scale.md,
``--check`` says whether they are fresh.

A line goes through what the smallest and the largest number of images took, of the rows with the
topic ``scale`` in results.csv: so much anyway, and so much for each image. The time of the search
for near-duplicates follows a power of the number. Numbers between the two check the model.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.page import Row, read_results
from diascope.data.duplicates.near import MAX_IMAGES

PAGE = Path(__file__).parents[1] / "docs" / "scale.md"
BLOCK = re.compile(r"(<!-- costs -->\n).*?(<!-- end of costs -->)", re.DOTALL)
WHAT = re.compile(r"(.+), ([\d,]+) images")
TOPIC = "scale"
NUMBERS = tuple(10**power for power in range(5, 10))
CORE_HOUR, TB_MONTH = 0.05, 25.0
CORE_SECONDS, WRITTEN, MEMORY = "core-seconds", "MB written", "anonymous MB"
NEAR, WITH_NEAR, PREPARE = "near-duplicates", "prepare with near-duplicates", "prepare"
EPOCH = "train, an epoch more"
CHECKED = (CORE_SECONDS, MEMORY)

Figures = dict[int, float]  # what was measured, by the number of images
Model = Callable[[float], float]


@dataclass(frozen=True)
class Stage:
    """A command, or a part of one."""

    name: str
    most_images: float = math.inf  # beyond which it is refused
    is_in_memory: bool = True  # whether each image adds to the memory of one process


STAGES = (
    Stage(PREPARE),
    Stage(NEAR, most_images=MAX_IMAGES),
    Stage("train, 20 steps"),
    Stage(EPOCH, is_in_memory=False),
    Stage("evaluate"),
    Stage("predict"),
)


def measured() -> dict[tuple[str, str], Figures]:
    """Return what was measured, by stage and metric."""
    found: dict[tuple[str, str], Figures] = {}
    topics = read_results()
    for row in topics.get(TOPIC, []):
        parts = WHAT.fullmatch(row["what"])
        if parts:
            number = int(parts[2].replace(",", ""))
            found.setdefault((parts[1], row["metric"]), {})[number] = float(row["value"])
    for metric in (CORE_SECONDS, WRITTEN, MEMORY):
        of_both, without = (found.pop((WITH_NEAR, metric), {}), found.get((PREPARE, metric), {}))
        both = of_both.keys() & without.keys()
        if metric == MEMORY:
            found[NEAR, metric] = of_both
        else:  # what the search adds
            found[NEAR, metric] = {n: max(of_both[n] - without[n], 0.0) for n in sorted(both)}
    found[EPOCH, CORE_SECONDS] = _epoch(topics.get("malaria-split", []))
    return {key: dict(sorted(figures.items())) for key, figures in found.items() if figures}


def _epoch(rows: list[Row]) -> Figures:
    """Return the core-seconds of an epoch of as many images as are trained on in a second."""
    for row in rows:
        if row["what"] == "`compact`" and row["metric"] == "slowest epoch, images/s":
            n_cores = int(row["machine"].split()[0])
            return {round(float(row["value"])): float(n_cores)}
    return {}


def model_of(stage: str, metric: str, figures: Figures) -> Model:
    """Return the line, or for the time of near-duplicates the power, through both ends."""
    (few, low), (many, high) = min(figures.items()), max(figures.items())
    if few == many:
        return lambda n: high * n / many
    if (stage, metric) == (NEAR, CORE_SECONDS) and 0 < low < high:
        power = math.log(high / low) / math.log(many / few)
        return lambda n: high * (n / many) ** power
    slope = max(0.0, (high - low) / (many - few))
    return lambda n: low + slope * (n - few)


def tables(core_hour: float, tb_month: float) -> str:
    """Return the cost of each stage, what the model misses, and what was not measured."""
    found = measured()
    parts = [
        f"At ${core_hour:g} for a core-hour and ${tb_month:g} for a TB-month, for images of 32 px "
        "and the network `compact`:\n",
        _costs(found, core_hour, tb_month),
    ]
    check = _check(found)
    if check:
        parts += [
            "\nThe model, made of the smallest and the largest number, against a number between:\n"
        ]
        parts += [check]
    missing = [stage.name for stage in STAGES if (stage.name, CORE_SECONDS) not in found]
    if missing:
        parts += [f"\nNot measured yet: {', '.join(missing)}."]
    return "\n".join(parts) + "\n"


def _costs(found: dict[tuple[str, str], Figures], core_hour: float, tb_month: float) -> str:
    heads = ["images", "stage", "core-hours", "GB written", "GB of memory", "computing", "a month"]
    lines = [heads, ["---"] * len(heads)]
    for n_images in NUMBERS:
        for stage in STAGES:
            of_stage = {
                metric: model_of(stage.name, metric, figures)(n_images)
                for (name, metric), figures in found.items()
                if name == stage.name
            }
            if CORE_SECONDS not in of_stage:
                continue
            if n_images > stage.most_images:
                at_most = f"at most {stage.most_images:,} images"
                lines.append([f"{n_images:,}", stage.name, at_most, *[""] * 4])
                continue
            hours = of_stage[CORE_SECONDS] / 3600
            gigabytes = of_stage.get(WRITTEN, 0.0) / 1000
            memory = of_stage.get(MEMORY)
            lines.append(
                [
                    f"{n_images:,}",
                    stage.name,
                    _short(hours),
                    _short(gigabytes),
                    _short(memory / 1000) if memory and stage.is_in_memory else "",
                    f"${_short(hours * core_hour)}",
                    f"${_short(gigabytes / 1000 * tb_month)}",
                ]
            )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _check(found: dict[tuple[str, str], Figures]) -> str:
    """Return what was predicted and measured between the ends."""
    heads = ["stage", "images", "", "predicted", "measured", "ratio"]
    lines = [heads, ["---"] * len(heads)]
    for stage in STAGES:
        for metric in CHECKED:
            figures = found.get((stage.name, metric), {})
            for number in list(figures)[1:-1]:
                predicted = model_of(stage.name, metric, figures)(number)
                value = figures[number]
                ratio = f"{predicted / value:.2f}" if value else ""
                cells = [stage.name, f"{number:,}", metric, _short(predicted), _short(value), ratio]
                lines.append(cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if len(lines) > 2 else ""


def _short(value: float) -> str:
    """Return a number with two or three digits.

    Examples
    --------
    >>> [_short(value) for value in (0, 0.00012, 0.0234, 1.26, 34.4, 12345.6)]
    ['0', '0.00012', '0.023', '1.3', '34', '12,346']
    """
    if not value:
        return "0"
    if value >= 10:
        return f"{value:,.0f}"
    return f"{value:.{max(1, 1 - math.floor(math.log10(value)))}f}"


def main() -> None:
    """Print the tables, or write them into the page, or check that they are fresh there."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--core-hour", type=float, default=CORE_HOUR)
    asked.add_argument("--tb-month", type=float, default=TB_MONTH)
    asked.add_argument("--write", action="store_true")
    asked.add_argument("--check", action="store_true")
    wanted = asked.parse_args()
    if not (wanted.write or wanted.check):
        print(tables(wanted.core_hour, wanted.tb_month))
        return
    text = PAGE.read_text("utf-8")
    fresh = BLOCK.sub(lambda found: found[1] + tables(CORE_HOUR, TB_MONTH) + found[2], text)
    if wanted.write:
        PAGE.write_text(fresh, encoding="utf-8")
    elif fresh != text:
        sys.exit("docs/scale.md is stale: run `make docs`.")


if __name__ == "__main__":
    main()
