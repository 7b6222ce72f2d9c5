"""Say what was judged, what the figures mean and do not mean, and what to be wary of."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from diascope.metrics.estimate import counted, plural
from diascope.plan import PRETRAINED, RANDOM
from diascope.reporting.division import leak_warning
from diascope.reporting.facts import Facts, patient_of
from diascope.reporting.labels import label_warning
from diascope.reporting.openings import openings_warnings, times
from diascope.reporting.pseudonyms import Names

HEADLINE = (
    "auroc",
    "sensitivity",
    "specificity",
    "balanced_accuracy",
    "accuracy",
    "average_precision",
    "mcc",
)
N_HEADLINE = 5
MAX_REJECTED = 0.01  # what `diascope prepare` takes where nothing is said


def headline(facts: Facts) -> dict[str, Any]:
    """Return the first lines of the report: what was judged, and the main estimates.

    Returns
    -------
    dict
        ``estimates``, at most five of ``key, estimate``; ``protocol`` and ``meaning``, sentences.
    """
    estimates = facts.metrics["estimates"]
    chosen = [name for name in HEADLINE if name in estimates][:N_HEADLINE]
    return {
        "estimates": [{"key": name, "estimate": estimates[name]} for name in chosen],
        "protocol": _protocol(facts),
        "meaning": _meaning(facts),
        "n_groups": facts.metrics["n_groups"],
        "judged": counted(facts.metrics["n_images"], "image")
        + (f" of {counted(facts.metrics['n_groups'], facts.group_kind)}" * facts.is_grouped),
    }


def _protocol(facts: Facts) -> str:
    kind, metrics = facts.group_kind, facts.metrics
    if facts.is_cross_validation:
        unseen = f"no image of its {kind}" if facts.is_grouped else "neither it nor an equal one"
        return (
            f"{metrics['n_folds']}-fold cross-validation by {kind}: every image was judged once, "
            f"by a network that had seen {unseen}. It judges the way of training, not one network."
        )
    if facts.split_mode == "random":
        return (
            f"The {metrics['split']} part of a random split, image by image: the network knows the "
            f"same {plural(kind)} from training."
        )
    if metrics["split"] == "test" and not facts.is_grouped:
        return "Held-out test split: these images took no part in training or in any choice."
    if metrics["split"] == "test":
        return (
            f"Held-out test split by {kind}: no image of these {plural(kind)} took part in "
            "training or in any choice."
        )
    has_test = (facts.manifest["split"] == "test").any()
    sealed = "The test split is still sealed." if has_test else "There is no test split."
    if facts.openings_now:
        opened = times(facts.openings_now["same_images"] + facts.openings_now["overlapping"])
        sealed = f"Test is not judged here, but its images or some of them were opened {opened}."
    return (
        f"The {metrics['split']} split, by {kind}: not trained on, but watched while choices were "
        f"made. {sealed}"
    )


def _meaning(facts: Facts) -> str:
    estimates = facts.metrics["estimates"]
    if _known(estimates, "sensitivity") and _known(estimates, "specificity"):
        positive, negative = facts.positive, facts.negative
        found = estimates["sensitivity"]["value"]
        false_alarms = 1 - estimates["specificity"]["value"]
        return (
            f"At the operating point, {found:.1%} of the images labelled {positive} were called "
            f"{positive}, and so were {false_alarms:.1%} of the images labelled {negative}."
        )
    if _known(estimates, "balanced_accuracy"):
        share = estimates["balanced_accuracy"]["value"]
        return (
            f"Averaged over the {len(facts.classes)} classes, {share:.1%} of the images of a class "
            "were given that class."
        )
    return "The main figures could not be computed; the warnings below say why."


def _known(estimates: Mapping[str, Any], name: str) -> bool:
    return name in estimates and estimates[name]["value"] is not None


def all_warnings(facts: Facts) -> list[str]:
    """Return what stands in red and everything else to know before the figures."""
    in_red = [text for text in (leak_warning(facts), label_warning(facts)) if text]
    return [*in_red, *warnings_about(facts)]


def warnings_about(facts: Facts) -> list[str]:
    """Return everything that a reader must know before the figures, loudest first."""
    in_red = leak_warning(facts) + label_warning(facts)
    of_split = (facts.fingerprint.get("split") or {}).get("warnings") or []
    others = [text for text in facts.metrics["warnings"] if text not in in_red]
    first = [text for text in others if text in of_split]
    others = [text for text in others if text not in of_split]
    return [*first, *_about_test(facts), *data_warnings(facts.fingerprint), *others]


def _about_test(facts: Facts) -> list[str]:
    found = []
    if facts.metrics["split"] != "test" and not facts.is_cross_validation:
        found.append(
            f"These figures are of the {facts.metrics['split']} split. Choices may have been made "
            "on it, so they are no measure of how well the network does on new "
            f"{plural(facts.group_kind)}."
        )
    return [*found, *openings_warnings(facts)]


def data_warnings(fingerprint: Mapping[str, Any]) -> list[str]:
    """Return what speaks against the data, by their fingerprint."""
    found = list(fingerprint.get("notes", ()))
    expected = fingerprint.get("expected_images")
    if not fingerprint.get("complete", True):
        of_all = f" of {expected:,}" if expected else ""
        found.append(
            f"Only a part of the data set was there: {fingerprint['n_images']:,}{of_all} images. "
            "The figures are not comparable with published ones."
        )
    elif fingerprint.get("content_verified") is False:
        found.append(
            "The content does not have the published checksum: it differs from what others used."
        )
    n_conflicts = (fingerprint.get("duplicates") or {}).get("across_labels", 0)
    if n_conflicts:
        found.append(
            f"{counted(n_conflicts, 'picture')} {'is' if n_conflicts == 1 else 'are'} filed under "
            "several classes: at least one of the labels of each is wrong."
        )
    rejected = fingerprint.get("rejected") or []
    if rejected:
        found.append(
            f"{counted(len(rejected), 'file')} could not be used and "
            f"{'was' if len(rejected) == 1 else 'were'} left out."
        )
    return found


def limits(group_kind: str, *, is_cross_validation: bool) -> list[str]:
    """Return what the figures of a run cannot say."""
    kind, patient = group_kind, patient_of(group_kind)
    found = [
        f"Single images were judged. That says nothing of how well a {patient} would be diagnosed: "
        f"no rule from images to {patient} was tested.",
        "All images come from one collection. Another scanner, stain, camera, clinic or "
        "population was not tried, and figures usually fall there.",
        "The labels are taken as they are. Where they are wrong, a correct answer counts as an "
        "error and the reverse.",
        "PPV, NPV and the probabilities hold for the share of each class found here. Where the "
        "condition is rarer, the PPV is lower.",
        "A good figure does not show what the network looks at. Stain, size, frame or device may "
        "give a class away.",
        f"The intervals describe the choice of {plural(kind)}. They do not describe another "
        "training seed, another data set or wrong labels.",
    ]
    if is_cross_validation:
        found.append(
            "The folds share most of their training images, so their spread understates how much "
            "a new training on new data would differ (Bengio & Grandvalet 2004)."
        )
    return found


def training_text(facts: Facts) -> str:
    """Say how long the training took and how fast it was."""
    if not facts.epochs:
        return ""
    seconds = sum(float(event.get("seconds") or 0) for event in facts.epochs)
    speeds = sorted(float(event.get("images_per_second") or 0) for event in facts.epochs)
    n_networks = len({(event["fold"], event.get("member", 0)) for event in facts.epochs})
    thin = "the members of the ensemble" if facts.plan.members else "folds"
    by_network = f" Thin lines are {thin}, thick ones their mean." if n_networks > 1 else ""
    kept = "The weights of the last epoch were kept: nothing was chosen on validation."
    if facts.plan.selection != "last":
        measure = facts.plan.selection.removeprefix("best_val_").replace("_", " ")
        measure = measure.replace("auroc", "AUROC")
        kept = f"The weights of the best validation {measure} were kept."
    networks = f"{n_networks} networks, {len(facts.epochs) // n_networks} epochs each"
    what = networks if n_networks > 1 else counted(len(facts.epochs), "epoch")
    return (
        f"{what}, in {seconds:,.0f} seconds, at a median of "
        f"{speeds[len(speeds) // 2]:,.0f} images a second. {kept}{by_network}"
    )


def methods_text(facts: Facts) -> str:
    """Say how the intervals were made."""
    metrics = facts.metrics
    pooled = (
        " Counts are pooled over the folds; AUROC and average precision are means of the folds."
        if facts.is_cross_validation
        else ""
    )
    kinds = plural(facts.group_kind)
    return (
        f"Intervals of {metrics['level']:.0%} from {metrics['n_resamples']:,} resamples of "
        f"{'whole ' * facts.is_grouped}{kinds} (seed {metrics['seed']}). Images"
        f"{f' and {kinds}' * facts.is_grouped} are those that inform the measure.{pooled}"
    )


def commands(facts: Facts, names: Names) -> str:
    """Return the command lines that make the run again, beside the old one."""
    recipe, run = facts.recipe, shlex.quote(f"runs/{names.cleaned_command(facts.name)}-again")
    train = ["diascope", "train", recipe.data, "--model", recipe.model]
    train += ["--recipe", recipe.recipe] if recipe.recipe else []
    train += ["--finetune", recipe.finetune] if recipe.finetune else []
    train += ["--weights", _shown_weights(recipe.weights)] if recipe.weights else []
    train += ["--folds", str(recipe.folds)] if recipe.folds else []
    train += ["--members", str(recipe.members)] if recipe.members else []
    train += ["--target", recipe.target] if recipe.target else []
    train += ["--seed", str(recipe.seed)]
    fitted = ("max_epochs", "max_steps") if recipe.minutes is not None else ()
    settings = {**recipe.settings, **{name: getattr(facts.plan, name) for name in fitted}}
    for name, value in settings.items():
        train += ["--set", f"{name}={names.cleaned(json.dumps(value))}"]
    return "\n".join(
        [
            _prepare_command(facts),
            *_label_commands(facts),
            f"{shlex.join(train)} --out {run}",
            f"diascope evaluate {run}",
            f"diascope report {run}",
        ]
    )


def _shown_weights(weights: str) -> str:
    """Return a word for weights; a path may tell names, and is the reader's own."""
    return weights if weights in (RANDOM, PRETRAINED) else "WEIGHTS"


def _prepare_command(facts: Facts) -> str:
    """Return how the data were prepared; FOLDER is the reader's own, as paths may tell names."""
    asked = facts.fingerprint
    words = ["diascope", "prepare", "DATA" if asked.get("data_path") else facts.recipe.data]
    words += ["--source", "FOLDER"] if asked.get("source_given") else []
    words += asked.get("options") or []
    mode = (asked.get("split") or {}).get("mode", "grouped")
    words += ["--split", mode] if mode != "grouped" else []
    words += ["--i-know-this-leaks"] if mode == "random" else []
    words += ["--size", str(asked["size_px"])] if asked.get("size_px") else []
    words += ["--seed", str((asked.get("split") or {}).get("seed", 0))]
    share = asked.get("max_rejected", MAX_REJECTED)
    words += ["--max-rejected", str(share)] if share != MAX_REJECTED else []
    words += ["--accept-large-groups"] if asked.get("accept_large_groups") else []
    words += [] if asked.get("near_duplicates", True) else ["--no-near-duplicates"]
    return shlex.join(words)


def _label_commands(facts: Facts) -> list[str]:
    """Return how labels were corrected; TABLE is the reader's own, told by its digest."""
    data = "DATA" if facts.fingerprint.get("data_path") else facts.recipe.data
    tables = (facts.fingerprint.get("labels") or {}).get("tables", ())
    return [
        shlex.join(["diascope", "prepare", data, "--labels", f"TABLE-{one['sha256'][:12]}"])
        + " --correct-test" * one["correct_test"]
        for one in tables
    ]


def content_text(fingerprint: Mapping[str, Any], modality: str) -> str:
    """Say what the images are, and whether they are the published ones."""
    spans = " and ".join(
        f"{_span(fingerprint[f'{side}_px'])} px {word}"
        for side, word in (("width", "wide"), ("height", "high"))
    )
    verified = {
        True: "The content has the published checksum.",
        False: "The content does not have the checksum of the published whole.",
        None: "There is no published checksum of the whole to compare with.",
    }[fingerprint.get("content_verified")]
    return f"{modality[:1].upper()}{modality[1:]}; {spans}. {verified}"


def _span(sizes: Mapping[str, float]) -> str:
    low, middle, high = (f"{sizes[key]:,.0f}" for key in ("min", "median", "max"))
    return low if low == high else f"{low} to {high} (median {middle})"
