"""Every figure of a model's evaluation once more, from the file of predictions alone.

Written without the project's own metrics: scikit-learn, SciPy and statsmodels, or plain counting.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import statsmodels.api as sm
from scipy.special import log_softmax, logit, softmax
from sklearn import metrics as sk


class Recount:
    """The predictions of one file, and what follows from them."""

    def __init__(self, path: Path, classes: list[str], positive: str | None) -> None:
        table = pl.read_parquet(path)
        self.classes, self.positive = classes, positive
        self.labels = table["label"].to_numpy().astype(int)
        self.called = table["predicted"].to_numpy().astype(int)
        self.folds = table["fold"].to_numpy()
        self.groups = table["group"].to_numpy()
        logits = table.select(pl.col("^logit_.*$")).to_numpy().astype(np.float64)
        self.probabilities = softmax(logits, axis=1)
        self.raw = softmax(
            (logits.astype(np.float32) * table["temperature"].to_numpy()[:, None]).astype(float),
            axis=1,
        )

    @property
    def index(self) -> int | None:
        """The number of the positive class."""
        return None if self.positive is None else self.classes.index(self.positive)

    def everything(self, metrics: dict[str, Any], *, has_folds: bool) -> dict[str, float | None]:
        """Return figures by their paths in the metrics; None for what is not estimable.

        Of the metrics, only what was chosen elsewhere is read: limits of prediction sets, the rule
        for groups, groups of classes, and thresholds.
        """
        found = self.decisions(self.labels, self.called)
        found |= self.ranks(self.labels, self.probabilities, has_folds=has_folds)
        found |= self.brier(self.probabilities, "estimates/brier")
        found |= self.most_probable()
        if "calibration" in metrics:
            found |= self.calibration("before", self.raw)
            found |= self.calibration("after", self.probabilities)
            found |= self.weak_calibration()
            found |= self.selective()
            found |= self.net_benefit()
        if metrics.get("prediction_sets"):
            found |= self.sets(metrics["sets_chosen"])
        if (metrics.get("group_level") or {}).get("rule"):
            found |= self.group_level(metrics["group_level"]["rule"], has_folds=has_folds)
        for number, row in enumerate(metrics.get("class_groups") or ()):
            found |= self.class_group(number, row)
        return found

    def decisions(self, labels, called, prefix: str = "") -> dict[str, float | None]:
        """Return what follows from the classes that were called."""
        found: dict[str, float | None] = {
            "estimates/accuracy": sk.accuracy_score(labels, called),
            "estimates/balanced_accuracy": sk.balanced_accuracy_score(labels, called),
            "estimates/mcc": sk.matthews_corrcoef(labels, called),
            "estimates/kappa": sk.cohen_kappa_score(labels, called),
        }
        for k, name in enumerate(self.classes):
            true, predicted = labels == k, called == k
            right = np.count_nonzero(true & predicted)
            both_not = np.count_nonzero(~true & ~predicted)
            one = {
                "recall": _ratio(right, true.sum()),
                "precision": _ratio(right, predicted.sum()),
                "f1": _ratio(2 * right, true.sum() + predicted.sum()),
                "specificity": _ratio(both_not, (~true).sum()),
                "npv": _ratio(both_not, (~predicted).sum()),
            }
            found |= {f"per_class/{name}/{key}": value for key, value in one.items()}
            if k == self.index:
                names = ("sensitivity", "ppv", "specificity", "npv")
                keys = ("recall", "precision", "specificity", "npv")
                found |= {f"estimates/{n}": one[key] for n, key in zip(names, keys, strict=True)}
        return {prefix + key: value for key, value in found.items()}

    def ranks(self, labels, scores, *, has_folds: bool, prefix: str = "", folds=None):
        """Return AUROC and average precision: means over folds, and over classes."""
        folds = self.folds if folds is None else folds
        which = range(len(self.classes)) if self.index is None else [self.index]
        values: dict[str, list] = {"auroc": [], "average_precision": []}
        of_class: dict[str, list] = {}
        for fold in np.unique(folds) if has_folds else [None]:
            here = np.ones(len(labels), bool) if fold is None else folds == fold
            there = [k for k in which if 0 < np.mean(labels[here] == k) < 1]
            one = {
                "auroc": [sk.roc_auc_score(labels[here] == k, scores[here, k]) for k in there],
                "average_precision": [
                    sk.average_precision_score(labels[here] == k, scores[here, k]) for k in there
                ],
            }
            for key, of_fold in one.items():
                if of_fold:
                    values[key].append(np.mean(of_fold))
                for k, value in zip(there, of_fold, strict=True):
                    of_class.setdefault(f"per_class/{self.classes[k]}/{key}", []).append(value)
        found = {f"estimates/{key}": np.mean(v) if v else None for key, v in values.items()}
        found |= {key: np.mean(v) for key, v in of_class.items()}
        return {prefix + key: value for key, value in found.items()}

    def brier(self, probabilities, name: str, labels=None) -> dict[str, float | None]:
        """Return the Brier score."""
        labels = self.labels if labels is None else labels
        happened = np.eye(len(self.classes))[labels]
        if self.index is not None:
            return {name: sk.brier_score_loss(labels == self.index, probabilities[:, self.index])}
        return {name: np.mean(((probabilities - happened) ** 2).sum(axis=1))}

    def most_probable(self) -> dict[str, float | None]:
        """Return the figures of the most probable class."""
        called = self.probabilities.argmax(axis=1)
        found = self.decisions(self.labels, called)
        rows = {
            f"most_probable/recall/{k}": found[f"per_class/{name}/recall"]
            for k, name in enumerate(self.classes)
        }
        names = ("accuracy", "balanced_accuracy")
        return rows | {
            f"most_probable/estimates/{name}": found[f"estimates/{name}"] for name in names
        }

    def calibration(self, when: str, rows) -> dict[str, float | None]:
        """Return the errors of probabilities, and the bins of the reliability diagram."""
        prefix = f"calibration/{when}"
        found = self.brier(rows, f"{prefix}/brier")
        found[f"{prefix}/nll"] = sk.log_loss(self.labels, rows, labels=range(len(self.classes)))
        fractions = np.bincount(self.labels, minlength=len(self.classes)) / len(self.labels)
        spread = fractions * (1 - fractions)
        reference = spread.sum() if self.index is None else spread[self.index]
        found[f"{prefix}/scaled_brier"] = 1 - found[f"{prefix}/brier"] / reference
        if self.index is None:
            chance, happened = rows.max(axis=1), rows.argmax(axis=1) == self.labels
        else:
            chance, happened = rows[:, self.index], self.labels == self.index
        edges = np.unique(np.quantile(chance, np.arange(1, 10) / 10))
        bins = [chance[np.digitize(chance, edges) == n] for n in range(len(edges) + 1)]
        hits = [happened[np.digitize(chance, edges) == n] for n in range(len(edges) + 1)]
        pairs = [(b, h) for b, h in zip(bins, hits, strict=True) if len(b)]
        gaps = [len(b) * abs(b.mean() - h.mean()) for b, h in pairs]
        found[f"{prefix}/ece"] = sum(gaps) / len(chance)
        for number, (_, hit) in enumerate(pairs):
            found[f"{prefix}/bins/{number}/observed"] = hit.mean()
        return found

    def weak_calibration(self) -> dict[str, float | None]:
        """Return calibration-in-the-large, slope, and observed over expected, by statsmodels."""
        found: dict[str, float | None] = {}
        which = range(len(self.classes)) if self.index is None else [self.index]
        for number, k in enumerate(which):
            happened, own = (self.labels == k).astype(float), self.probabilities[:, k]
            prefix = f"calibration/by_class/{number}"
            if not 0 < happened.mean() < 1:
                continue
            x, family = logit(np.clip(own, 1e-7, 1 - 1e-7)), sm.families.Binomial()
            ones = np.ones((len(x), 1))
            found[f"{prefix}/observed_expected"] = happened.sum() / own.sum()
            large = sm.GLM(happened, ones, family=family, offset=x).fit()
            found[f"{prefix}/in_the_large"] = large.params[0]
            is_apart = x[happened == 1].min() > x[happened == 0].max()
            if not is_apart:
                both = sm.GLM(happened, sm.add_constant(x), family=family).fit()
                found[f"{prefix}/slope"] = both.params[1]
        return found

    def selective(self) -> dict[str, float | None]:
        """Return the error rates of the most certain images."""
        certainty = self.probabilities[np.arange(len(self.called)), self.called]
        wrong = self.called != self.labels
        found = {}
        for number, fraction in enumerate((1.0, 0.9, 0.8, 0.7, 0.5)):
            n = max(1, round(fraction * len(wrong)))
            least = np.sort(certainty)[len(wrong) - n]
            found[f"risk_coverage/{number}/error"] = wrong[certainty >= least].mean()
        return found

    def net_benefit(self) -> dict[str, float | None]:
        """Return the net benefit at each threshold, by its definition."""
        if self.index is None:
            return {}
        own, ill = self.probabilities[:, self.index], self.labels == self.index
        found = {}
        for number, threshold in enumerate(np.round(np.arange(0.02, 0.99, 0.04), 2)):
            acted = own >= threshold
            odds = threshold / (1 - threshold)
            found[f"decision_curve/{number}/value"] = (
                np.mean(acted & ill) - np.mean(acted & ~ill) * odds
            )
        return found

    def sets(self, chosen: list[dict[str, Any]]) -> dict[str, float | None]:
        """Return coverage by group and by image, and what is referred."""
        least = np.array([one["least"] for one in chosen])
        of_image = least[self.folds] if len(chosen) > 1 else least[np.zeros(len(self.folds), int)]
        inside = self.raw >= of_image
        rows = np.arange(len(self.labels))
        held = inside[rows, self.labels]
        kept = (inside.sum(axis=1) == 1) & inside[rows, self.called]
        wrong = self.called != self.labels
        found = {
            "prediction_sets/referred": np.mean(~kept),
            "prediction_sets/errors_kept": _ratio((wrong & kept).sum(), kept.sum()),
        }
        for k in range(len(self.classes)):
            mine = self.labels == k
            within = pl.DataFrame({"g": self.groups[mine], "held": held[mine]})
            of_groups = within.group_by("g").agg(pl.col("held").mean())["held"]
            prefix = f"prediction_sets/by_class/{k}"
            found |= {
                f"prediction_sets/coverage/{k}": of_groups.mean(),
                f"prediction_sets/coverage_of_images/{k}": _ratio((held & mine).sum(), mine.sum()),
                f"{prefix}/referred": _ratio((mine & ~kept).sum(), mine.sum()),
                f"{prefix}/wrong_kept": _ratio((mine & kept & wrong).sum(), mine.sum()),
                f"{prefix}/error_rate_kept": _ratio(
                    (mine & kept & wrong).sum(), (mine & kept).sum()
                ),
            }
        return found

    def group_level(self, rule: str, *, has_folds: bool):
        """Return the ranking of whole groups, whose class is that of all their images."""
        log_p = log_softmax(np.log(np.maximum(self.probabilities, 1e-7)), axis=1)
        labels, scores, folds = [], [], []
        for group in np.unique(self.groups):
            mine = self.groups == group
            if len(set(self.labels[mine])) > 1:
                continue
            labels.append(self.labels[mine][0])
            folds.append(self.folds[mine][0])
            if "log-odds" in rule:
                scores.append(softmax(log_p[mine].mean(axis=0)))
            elif "mean" in rule:
                scores.append(self.probabilities[mine].mean(axis=0))
            else:
                column = slice(None) if self.index is None else [self.index]
                surest = self.probabilities[mine][:, column].max(axis=1).argmax()
                scores.append(self.probabilities[mine][surest])
        label_of, score_of = np.array(labels), np.array(scores)
        found = self.ranks(
            label_of,
            score_of,
            has_folds=has_folds,
            prefix="group_level/",
            folds=np.array(folds),
        )
        return found | self.brier(score_of, "group_level/estimates/brier", label_of)

    def class_group(self, number: int, row: dict[str, Any]) -> dict[str, float | None]:
        """Return the figures of a group of classes against all others."""
        members = [self.classes.index(name) for name in row["classes"]]
        inside, called = np.isin(self.labels, members), np.isin(self.called, members)
        own = self.probabilities[:, members].sum(axis=1)
        prefix = f"class_groups/{number}/estimates"
        found = {
            f"{prefix}/auroc": sk.roc_auc_score(inside, own),
            f"{prefix}/average_precision": sk.average_precision_score(inside, own),
            f"{prefix}/sensitivity": np.mean(called[inside]),
            f"{prefix}/specificity": np.mean(~called[~inside]),
            f"{prefix}/ppv": _ratio((called & inside).sum(), called.sum()),
            f"{prefix}/npv": _ratio((~called & ~inside).sum(), (~called).sum()),
        }
        if row["point"]:
            acted = own >= row["point"]["threshold"]
            prefix = f"class_groups/{number}/point/estimates"
            found[f"{prefix}/sensitivity"] = np.mean(acted[inside])
            found[f"{prefix}/specificity"] = np.mean(~acted[~inside])
        return found


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None
