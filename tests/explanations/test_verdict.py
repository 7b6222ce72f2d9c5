"""The verdict on heat maps: what it tests, on networks of which the answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn.networks import draw_bundle, draw_images, draw_network
from scipy.stats import t
from torch import nn

from diascope.bundle.map_verdicts import MapVerdict, MapVerdicts
from diascope.errors import RunError, SettingsError
from diascope.explanations.focus import border_of, energy_in
from diascope.explanations.heat_maps import Explainer
from diascope.explanations.randomisation import forget, randomised
from diascope.explanations.removal import Removal, filled, moved, remove
from diascope.explanations.similarity import rank_correlations
from diascope.explanations.stability import across_members, under_shifts
from diascope.explanations.verdict import FEWEST_IMAGES, _mean, judge_map, judge_maps

SIDE = 32


class Watching(nn.Module):
    """A network that looks for bright pixels in one part of the image, and nowhere else."""

    def __init__(self, rows: slice, columns: slice) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)
        nn.init.constant_(self.first.weight, 0.1)
        nn.init.constant_(self.first.bias, 0.5)
        self.rows, self.columns = rows, columns
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[1.0] * 4, [0.0] * 4, [-1.0] * 4]))
            self.head.bias.copy_(torch.tensor([0.0, -0.5, -1.0]))

    def forward(self, x):
        """Map (B, 3, S, S) to logits (B, 3)."""
        seen = self.first(x).relu()[:, :, self.rows, self.columns]
        return self.head(seen.mean(dim=(2, 3)))


def watching(rows: slice, columns: slice):
    return draw_bundle(Watching(rows, columns), size_px=SIDE)


CENTRE, CORNER = slice(12, 20), slice(0, 4)


def images_of(n: int) -> np.ndarray:
    """Draw noise with a bright spot in the middle and one in the corner."""
    images = draw_images(n, SIDE, seed=3) // 3
    images[:, 13:18, 14:19] = 255
    images[:, 1:4, 1:4] = 255
    return images


@pytest.fixture(scope="module")
def compact():
    return draw_bundle(draw_network("compact", size_px=SIDE), size_px=SIDE)


def level(verdict: MapVerdict, name: str) -> str:
    finding = verdict.finding(name)
    assert finding is not None
    return finding.level


# Similarity and focus


def test_rank_correlation_is_that_of_spearman():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 3, 16, 16)).astype(np.float32)
    second[1] = np.exp(first[1])
    second[2] = -first[2]
    found = rank_correlations(first, second)
    assert abs(found[0]) < 0.3
    assert found[1:] == pytest.approx([1, -1])
    assert rank_correlations(first, np.ones_like(first)) == pytest.approx([0, 0, 0])


def test_energy_is_shared_by_region_and_unknown_for_a_blank_map():
    maps = np.zeros((2, SIDE, SIDE), np.float32)
    maps[0, 0, 0], maps[0, 16, 16] = 1, 3
    assert energy_in(maps, border_of(SIDE)) == pytest.approx([0.25, np.nan], nan_ok=True)
    assert border_of(SIDE).mean() == pytest.approx(1 - 0.75**2)


# Randomisation


def test_randomised_weights_are_the_initialisers_and_the_bundle_is_left_as_it_was(compact):
    before = {name: value.clone() for name, value in compact.module.state_dict().items()}
    images = images_of(8)
    half = randomised(compact, 0.5, images, seed=1)
    whole = randomised(compact, 1.0, images, seed=1)
    for name, value in compact.module.state_dict().items():
        assert torch.equal(value, before[name])
    changed = [
        not torch.equal(after, before[name])
        for name, after in half.module.named_parameters()
        if after.ndim > 1
    ]
    assert not changed[0]
    assert changed[-1]
    assert all(
        not torch.equal(after, before[name])
        for name, after in whole.module.named_parameters()
        if after.ndim > 1
    )
    assert not any(module.training for module in whole.module.modules())
    again = randomised(compact, 1.0, images, seed=1)
    assert np.array_equal(whole.predict_logits(images), again.predict_logits(images))
    other = randomised(compact, 1.0, images, seed=2)
    assert not np.array_equal(whole.predict_logits(images), other.predict_logits(images))


def test_a_map_that_does_not_know_the_network_does_not_change_when_it_forgets(compact, monkeypatch):
    images, targets = images_of(6), np.zeros(6, np.int64)
    explainer = Explainer.of(compact, "grad-cam")
    assert forget(explainer, images, targets).stages[-1].mean() < 0.5
    edges = images.astype(np.float32).mean(axis=3)
    monkeypatch.setattr(Explainer, "evidence", lambda *_: edges)
    assert forget(explainer, images, targets).stages == pytest.approx(1)


# Removal


def test_removal_gains_where_a_map_shows_what_the_network_looks_at_and_loses_elsewhere():
    bundle, images = watching(CENTRE, CENTRE), images_of(12)
    maps = np.zeros((12, SIDE, SIDE), np.float32)
    maps[:, CENTRE, CENTRE] = 1
    targets = np.zeros(12, np.int64)
    right = remove(bundle, images, targets, maps)
    assert right.deletion.min() > 0.01
    assert right.insertion.min() > 0.01
    wrong = remove(bundle, images, targets, np.roll(maps, 16, axis=(1, 2)))
    assert wrong.deletion.mean() < 0.01
    assert wrong.insertion.mean() < 0.01


def test_controls_are_as_smooth_as_their_maps_and_lie_elsewhere():
    maps = np.zeros((20, SIDE, SIDE), np.float32)
    maps[:, 12:20, 12:20] = np.random.default_rng(0).random((20, 8, 8))
    controls = moved(maps, seed=0)
    assert np.sort(controls.reshape(20, -1)) == pytest.approx(np.sort(maps.reshape(20, -1)))
    assert (controls * maps).sum() < 0.5 * (maps**2).sum()
    assert np.array_equal(controls, moved(maps, seed=0))
    assert not np.array_equal(controls, moved(maps, seed=1))


def test_a_hole_is_filled_from_around_it():
    x = torch.linspace(0, 1, SIDE).expand(1, 3, SIDE, SIDE).clone()
    removed = torch.zeros(1, 1, SIDE, SIDE, dtype=torch.bool)
    removed[..., 10:16, 10:16] = True
    damaged = torch.where(removed, 100.0, x)
    found = filled(damaged, removed, seed=0)
    assert torch.equal(found[~removed.expand_as(x)], x[~removed.expand_as(x)])
    assert (found - x).abs().max() < 0.2
    whole = torch.ones_like(removed)
    assert torch.isfinite(filled(x, whole, seed=0)).all()


# Stability


def test_a_map_that_moves_with_the_image_is_stable_and_one_of_noise_is_not(compact, monkeypatch):
    images, targets = images_of(5), np.zeros(5, np.int64)
    explainer = Explainer.of(compact, "occlusion")
    pixels = images.astype(np.float32).mean(axis=3)
    monkeypatch.setattr(Explainer, "evidence", lambda _self, seen, _: seen.mean(axis=3, dtype="f4"))
    assert under_shifts(explainer, images, targets, pixels) == pytest.approx(1)
    rng = np.random.default_rng(0)
    monkeypatch.setattr(
        Explainer, "evidence", lambda _self, seen, _: rng.random(seen.shape[:3], dtype=np.float32)
    )
    assert under_shifts(explainer, images, targets, pixels).mean() < 0.3


def test_members_that_look_at_other_places_do_not_agree():
    from diascope.models.ensemble import Ensemble, Member

    images, targets = images_of(5), np.zeros(5, np.int64)

    def agreement(*places: slice) -> float:
        members = [Member(Watching(one, one), (0.5,) * 3, (0.25,) * 3) for one in places]
        bundle = draw_bundle(
            Ensemble(members), size_px=SIDE, members=2, mean=(0.0,) * 3, std=(1.0,) * 3
        )
        found = across_members(Explainer.of(bundle, "occlusion"), images, targets)
        assert found is not None
        return float(found.mean())

    assert agreement(CENTRE, CENTRE) == pytest.approx(1)
    assert agreement(CENTRE, CORNER) < 0.3
    assert (
        across_members(Explainer.of(watching(CENTRE, CENTRE), "occlusion"), images, targets) is None
    )


# The verdict


@pytest.fixture
def forgetful(monkeypatch):
    """Let networks made by hand forget: their card names another one."""
    from diascope.explanations import randomisation

    def fresh(_bundle, *, seed):
        torch.manual_seed(seed)
        other = Watching(slice(None), slice(None))
        nn.init.normal_(other.head.weight)
        nn.init.normal_(other.first.weight)
        return other

    monkeypatch.setattr(randomisation, "_fresh", fresh)


@pytest.mark.usefixtures("forgetful")
def test_a_network_that_looks_at_the_corner_is_said_to():
    images = images_of(60)
    verdict = judge_maps(Explainer.of(watching(CORNER, CORNER), "occlusion"), images)
    assert level(verdict, "border") == "fail"
    assert level(verdict, "removal") == "pass"
    assert verdict.level == "fail"
    assert "of the evidence lies on the border" in verdict.reason
    assert "look for marks, rulers or letters" in verdict.reason
    other = judge_maps(Explainer.of(watching(CENTRE, CENTRE), "occlusion"), images)
    assert level(other, "border") == "pass"
    assert other.score > verdict.score


@pytest.mark.usefixtures("forgetful")
def test_a_network_that_guesses_has_nothing_to_explain():
    images = images_of(120)
    labels = np.random.default_rng(0).integers(0, 3, 120)
    verdict = judge_maps(
        Explainer.of(watching(CENTRE, CENTRE), "occlusion"),
        images,
        labels=labels,
        groups=[str(n // 4) for n in range(120)],
    )
    assert level(verdict, "knowledge") == "fail"
    assert "may be guessing" in verdict.reason


@pytest.mark.usefixtures("forgetful")
def test_without_images_of_two_classes_no_auroc_is_made_up():
    verdict = judge_maps(
        Explainer.of(watching(CENTRE, CENTRE), "hires-cam"),
        images_of(60),
        labels=np.zeros(60, np.int64),
    )
    assert verdict.finding("knowledge") is None
    assert "guessing" not in verdict.reason


@pytest.mark.usefixtures("forgetful")
def test_a_verdict_is_the_same_again_and_says_what_it_rests_on():
    explainer = Explainer.of(watching(CENTRE, CENTRE), "hires-cam")
    first, second = (judge_maps(explainer, images_of(60)) for _ in range(2))
    assert first == second
    assert (first.method, first.layer, first.side) == ("hires-cam", "first", SIDE)
    assert first.n_images == 60
    assert {"randomisation", "removal", "stability", "border"} <= {f.name for f in first.findings}
    assert first.finding("knowledge") is None


def test_too_few_images_are_refused(compact):
    with pytest.raises(SettingsError, match="cannot be tested on 49 images"):
        judge_maps(Explainer.of(compact, "grad-cam"), images_of(FEWEST_IMAGES - 1))


def test_a_single_map_is_tested_by_what_is_cheap():
    image = images_of(1)[0]
    explainer = Explainer.of(watching(CORNER, CORNER), "occlusion")
    shown = explainer.maps(image[None], np.array([0]))[0]
    findings = {one.name: one for one in judge_map(explainer, image, 0, shown)}
    assert findings["border"].level == "fail"
    assert findings["removal"].low is None


def test_background_is_held_against_its_area_and_that_limit_is_noted():
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    image[8:24, 8:24] = 200
    explainer = Explainer.of(watching(CENTRE, CENTRE), "occlusion")
    even = np.ones((SIDE, SIDE), np.float32)
    findings = {one.name: one for one in judge_map(explainer, image, 0, even)}
    background = findings["background"]
    assert (background.value, background.limit, background.level) == (0.75, 0.75, "pass")


@pytest.mark.usefixtures("forgetful")
def test_what_a_map_finds_is_no_share_of_a_reference_that_finds_nothing(monkeypatch):
    nothing = Removal(np.zeros(60), np.zeros(60))
    monkeypatch.setattr("diascope.explanations.verdict.remove", lambda *_, **__: nothing)
    verdict = judge_maps(Explainer.of(watching(CENTRE, CENTRE), "hires-cam"), images_of(60))
    assert verdict.finding("efficiency") is None


@pytest.mark.parametrize("n_groups", [3, 5, 14])
def test_intervals_of_a_mean_are_as_wide_as_those_of_student(n_groups):
    values = np.random.default_rng(0).normal(size=n_groups)
    found = _mean(values, np.arange(n_groups).astype(str))
    half = t.ppf(0.975, n_groups - 1) * values.std(ddof=1) / np.sqrt(n_groups)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.04)


# Kept in the bundle


def verdicts_of(method: str, weights: str = "abc") -> MapVerdicts:
    verdict = MapVerdict(
        method=method,
        layer="",
        side=8,
        level="pass",
        reason="All tests pass.",
        score=3.0,
        n_images=60,
        findings=(),
    )
    return MapVerdicts(weights_sha256=weights, images="60 images", verdicts=(verdict,))


def test_a_bundle_keeps_its_verdicts_through_save_and_load_and_another_network_has_none(
    compact, tmp_path
):
    saved = compact.save(tmp_path / "a")
    verdicts = verdicts_of("occlusion", saved.card.weights_sha256)
    kept = replace(saved, map_verdicts=verdicts)
    kept.save(tmp_path / "b")
    loaded = type(kept).load(tmp_path / "b")
    assert loaded.map_verdicts == verdicts
    assert loaded.map_verdicts.of("occlusion", "") is not None
    assert loaded.map_verdicts.of("grad-cam", "") is None
    verdicts_of("occlusion", "other weights").save(tmp_path / "b")
    assert type(kept).load(tmp_path / "b").map_verdicts is None


def test_a_verdict_that_was_edited_is_refused(compact, tmp_path):
    saved = compact.save(tmp_path)
    verdicts_of("occlusion", saved.card.weights_sha256).save(tmp_path)
    path = tmp_path / "explanations.json"
    path.write_text(path.read_text("utf-8").replace('"pass"', '"weak"'), "utf-8")
    with pytest.raises(RunError, match=r"explanations\.json|changed|checksum"):
        type(compact).load(tmp_path)


def test_a_new_verdict_takes_the_place_of_the_old_one():
    verdicts = verdicts_of("occlusion")
    other = verdicts.verdicts[0].model_copy(update={"level": "fail"})
    assert verdicts.added(other).verdicts == (other,)
