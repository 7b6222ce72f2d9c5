"""Named recipes: the published systems, down to the schedule; few steps of the heavy ones."""

from __future__ import annotations

from typing import get_args, get_type_hints

import numpy as np
import pytest

from diascope.bundle.prior import class_fractions, decision_weights, logit_offset
from diascope.errors import SettingsError
from diascope.steps.prepare import prepare
from diascope.steps.train import train
from diascope.system.machine import Machine
from diascope.system.plugins import find, find_all
from diascope.training.imbalance import epoch_order, loss_terms, smoothing_fractions
from diascope.training.loop import SCHEDULES
from diascope.training.plan import Training
from diascope.training.recipe import find_recipe, make_recipe, named_recipes
from diascope.training.run import open_bundle
from diascope.training.settings import DataFacts, derive_plan

MACHINE = Machine(precision=("bf16", "a test"), threads=(2, "a test"))
METHODS = get_args(get_type_hints(Training)["imbalance"])
HAM_COUNTS = (196, 308, 659, 69, 668, 4023, 85)


@pytest.mark.parametrize("name", sorted(named_recipes()))
def test_every_recipe_makes_a_plan_for_the_data_it_names(name):
    named = find_recipe(name)
    assert named.data in find_all("datasets")
    n_classes = find("datasets", named.data).task.n_classes
    recipe = make_recipe(named.data, recipe=name)
    plan = derive_plan(recipe, DataFacts((100,) * n_classes), MACHINE)
    for setting, value in named.settings.items():
        assert plan.settings[setting] == value
        assert plan.reasons[setting] == f"the recipe {name}"


def test_what_the_user_says_comes_before_what_the_recipe_says():
    recipe = make_recipe(
        "ham10000",
        recipe="ham10000-reference",
        model="timm:tf_efficientnet_lite0",
        settings=["batch_size=64"],
    )
    plan = derive_plan(recipe, DataFacts(HAM_COUNTS), MACHINE)
    assert (plan.model, plan.training.batch_size, plan.head.dense_units) == (
        "timm:tf_efficientnet_lite0",
        64,
        512,
    )
    assert plan.reasons["batch_size"] == "set by the user"


def test_the_learning_rate_of_the_skin_recipe_is_the_published_one():
    plan = derive_plan(
        make_recipe("ham10000", recipe="ham10000-reference"), DataFacts(HAM_COUNTS), MACHINE
    )
    how = plan.training
    schedule = SCHEDULES[how.schedule]
    rates = [how.learning_rate * schedule(t + 0.5, how.max_epochs) for t in range(40)]
    expected = [1e-3 * (1 if t < 10 else np.exp(0.1 * (10 - t))) for t in range(40)]
    np.testing.assert_allclose(rates, expected)


def test_a_recipe_can_be_a_file_of_ones_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("title: mine\nmodel: compact\nsettings: {max_epochs: 3}\n")
    recipe = make_recipe("malaria", recipe=str(path))
    assert (recipe.recipe, recipe.base) == ("mine", {"max_epochs": 3})
    path.write_text("title: mine\nmodell: compact\n")
    with pytest.raises(SettingsError, match="modell"):
        make_recipe("malaria", recipe=str(path))
    with pytest.raises(SettingsError, match="cannot be read"):
        make_recipe("malaria", recipe=str(tmp_path / "none.yaml"))


@pytest.mark.parametrize("method", METHODS)
def test_the_classes_that_a_perfect_learner_calls_do_not_depend_on_the_method(method):
    fractions = np.array([0.7, 0.2, 0.1])
    likelihood = np.array([[0.2, 0.3, 0.5], [0.5, 0.3, 0.2], [0.1, 0.45, 0.45]])
    weights, shift = loss_terms(method, fractions)
    seen = fractions * weights if method != "balanced_sampling" else np.full(3, 1 / 3)
    learned = np.log(likelihood * seen) - shift  # what minimises the loss, but for a constant
    logits = learned + np.array(logit_offset(method, fractions))
    posterior = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = likelihood * fractions / (likelihood * fractions).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(posterior, expected)
    called = (posterior * np.array(decision_weights("balanced", fractions))).argmax(axis=1)
    np.testing.assert_array_equal(called, likelihood.argmax(axis=1))


@pytest.mark.parametrize("method", METHODS)
def test_smoothed_labels_do_not_change_the_class_that_a_perfect_learner_calls(method):
    fractions = np.array([0.85, 0.14, 0.01])
    likelihood = np.array([[0.2, 0.3, 0.5], [0.4, 0.35, 0.25], [0.9, 0.06, 0.04]])
    drawn = np.full(3, 1 / 3) if method == "balanced_sampling" else fractions
    posterior = likelihood * drawn / (likelihood * drawn).sum(axis=1, keepdims=True)
    targets = 0.9 * posterior + 0.1 * smoothing_fractions(method, fractions)
    weights, shift = loss_terms(method, fractions)
    logits = np.log(weights * targets) - shift + np.array(logit_offset(method, fractions))
    called = (np.exp(logits) * np.array(decision_weights("balanced", fractions))).argmax(axis=1)
    np.testing.assert_array_equal(called, likelihood.argmax(axis=1))


def test_balanced_sampling_draws_every_class_alike():
    labels = np.repeat([0, 1, 2], [900, 90, 10])
    drawn = epoch_order("balanced_sampling", np.arange(1000), labels, np.random.default_rng(0))
    assert len(drawn) == 1000
    np.testing.assert_allclose(class_fractions(labels[drawn], 3), 1 / 3, atol=0.05)


def test_unequal_classes_are_made_up_for_and_equal_ones_left_alone():
    unequal = derive_plan(make_recipe("ham10000"), DataFacts(HAM_COUNTS), MACHINE)
    equal = derive_plan(make_recipe("malaria"), DataFacts((3000, 2500)), MACHINE)
    assert unequal.training.imbalance != "none"
    assert unequal.decision == "balanced"
    assert (equal.training.imbalance, equal.decision) == ("none", "most_probable")
    assert "58.3 times" in unequal.reasons["imbalance"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "n_features"), [("ham10000-reference", 512), ("idc-reference", 2048)]
)
def test_the_heavy_recipes_take_a_few_steps_from_random_weights(recipe, n_features, tmp_path):
    data = find_recipe(recipe).data
    find("datasets", data).fake(tmp_path / "source")
    prepare(data, source=tmp_path / "source", split="grouped", fractions=(0.5, 0.25, 0.25))
    run = train(
        data,
        recipe=recipe,
        weights="random",
        settings=["max_epochs=2", "selection=last"],
        out=tmp_path / "run",
    )
    module = open_bundle(run).module
    assert module.get_submodule("head.0").in_features == n_features
    assert [line["epoch"] for line in run.log] == [1, 2]
    assert all(np.isfinite(line["train_loss"]) for line in run.log)
