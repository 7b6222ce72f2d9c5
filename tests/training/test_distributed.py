"""Several ranks take the steps of one: parts of a batch, sums over ranks, and how they stop."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from drawn.ranks import places, run

from diascope.errors import SettingsError
from diascope.system.environment import Launch, launch
from diascope.training.augment import augment
from diascope.training.distributed import ALONE, Ranks
from diascope.training.inputs import FeatureInputs, ImageInputs
from diascope.training.plan import Augmentation

CPU = torch.device("cpu")
EVERYTHING = Augmentation("both", 20.0, 3.0, 0.1, 0.1, 0.1)

# Each rank takes steps with the others on its part of a batch, and alone on all of it.
SAME_STEPS = """
import copy
import numpy as np
import torch
from torch import nn
from diascope.models.spec import Head
from diascope.models.timm_backbone import timm_model
from diascope.training.distributed import ALONE
from diascope.training.gradient_step import GradientStep, Loss
from diascope.training.joining import joined
from diascope.training.optimizers import Muon, shares
from diascope.training.whole_batch import whole_batch

KIND = torch.float64

def networks():
    small = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3), nn.Conv2d(8, 6, 3),
        nn.BatchNorm2d(6, affine=False), nn.Flatten(), nn.Linear(6 * 28 * 28, 5), nn.BatchNorm1d(5),
        nn.Dropout(0.5), nn.Linear(5, 3),
    )
    yield small.to(KIND)
    yield small.to(KIND).to(memory_format=torch.channels_last)
    yield timm_model("timm:test_efficientnet", Head(dropout=0.2)).build(3, 32).to(KIND)

def differences(ranks):
    torch.manual_seed(0)
    loss = Loss(torch.rand(3, 3, dtype=KIND), torch.rand(3, dtype=KIND), torch.rand(3, dtype=KIND))
    for module in networks():
        other = copy.deepcopy(module)
        steps = []
        for network, together in ((module, ranks), (other, ALONE)):
            optimizer = torch.optim.SGD(network.train().parameters(), lr=0.05)
            steps.append(GradientStep(network, optimizer, loss, precision="fp32", ranks=together))
        for number, n_batch in enumerate((7, 6, 5)):  # not divisible among 2 or 3 ranks
            x = torch.randn(n_batch, 3, 32, 32, dtype=KIND).to(memory_format=torch.channels_last)
            y = torch.randint(3, (n_batch,))
            part = ranks.part(n_batch)
            losses = []
            for step, rows in ((steps[0], part), (steps[1], slice(None))):
                with torch.random.fork_rng():
                    torch.manual_seed(number)
                    losses.append(step(x[rows], y[rows], n_batch=n_batch))
            yield abs(float(losses[0] - losses[1]))
            for name, value in module.state_dict().items():
                yield float((value - other.state_dict()[name]).abs().max())
            for (name, own), alone in zip(module.named_parameters(), other.parameters()):
                assert alone.grad.abs().max() > 0, name
                yield float((own.grad - alone.grad).abs().max())

def steps_of_muon(ranks):  # with shared matrices, then with each turned here
    for together in (ranks, ALONE):
        torch.manual_seed(2)
        weights = [torch.randn(n, 7, 3, 3, requires_grad=True) for n in (4, 9, 5, 70)]
        optimizer = Muon(
            [{"params": weights, "are_filters": True}], precision="fp32", ranks=together, lr=0.1
        )
        for _ in range(3):
            for weight in weights:
                weight.grad = torch.randn_like(weight)
            optimizer.step()
        yield weights

with joined() as ranks:
    assert ranks.n_ranks > 1
    largest = max(differences(ranks))
    assert len(set(shares([torch.empty(n, 63) for n in (4, 9, 5, 70)], ranks.n_ranks))) > 1
    for shared, alone in zip(*steps_of_muon(ranks)):
        assert torch.equal(shared, alone)
    shares = ranks.gathered(torch.full((len(range(5)[ranks.part(5)]), 2), 1.0 + ranks.rank), 5)
    agreed = ranks.agreed(0.1 + ranks.rank)
    ranks.meet()
    assert ranks.of_each(torch.tensor([float(ranks.rank)])).tolist() == [
        [float(rank)] for rank in range(ranks.n_ranks)
    ]
    x, of_y = torch.randn(2, 6, 3, 4, 4, generator=torch.manual_seed(1)).unbind()
    part, layer, alone = ranks.part(6), nn.BatchNorm2d(3).train(), nn.BatchNorm2d(3).train()
    own, x = x[part].bfloat16().requires_grad_(), x.requires_grad_()
    with whole_batch(ranks, 6):
        in_half, y = layer(own), alone(x)
    in_half.backward(of_y[part].bfloat16())
    y.backward(of_y)
    for half, whole in ((in_half, y), (own.grad, x.grad)):
        error = (half.float() - whole[part]).abs().max()
        assert half.dtype == torch.bfloat16 and error < 0.02, error
    error = (ranks.sum(layer.weight.grad) - alone.weight.grad).abs().max()
    assert error < 0.05, error
print(f"{largest:.1e}", agreed, shares[:, 0].tolist())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_ranks", "shares"), [(2, [1.0, 1.0, 2.0, 2.0, 2.0]), (3, [1.0, 2.0, 2.0, 3.0, 3.0])]
)
def test_ranks_together_take_the_step_of_one_to_the_last_digits(n_ranks, shares):
    """In float64, so that a wrong formula cannot hide behind rounding."""
    for code, said, errors in run(["-c", SAME_STEPS], n_ranks=n_ranks):
        assert code == 0, errors
        largest, agreed, *rest = said.split(maxsplit=2)
        assert float(largest) < 1e-12
        assert float(agreed) == 0.1
        assert rest == [f"{shares}\n"]


def test_parts_are_all_rows_once_in_order_and_nearly_equal():
    for n_ranks in (1, 2, 3, 7):
        for n_rows in (7, 8, 100):
            parts = [Ranks(rank, n_ranks).part(n_rows) for rank in range(n_ranks)]
            assert [row for part in parts for row in range(n_rows)[part]] == list(range(n_rows))
            sizes = {part.stop - part.start for part in parts}
            assert max(sizes) - min(sizes) <= 1


def test_fewer_images_than_ranks_are_refused():
    with pytest.raises(SettingsError, match="cannot be divided among 4 ranks"):
        Ranks(0, 4).part(3)


@pytest.mark.parametrize("flips", ["none", "horizontal", "both", "dihedral"])
def test_a_part_of_a_batch_is_augmented_as_within_the_whole(flips):
    images = torch.rand(7, 3, 16, 16, generator=torch.manual_seed(0))
    how = Augmentation(flips, 20.0, 3.0, 0.1, 0.1, 0.1)
    whole = augment(images, how, rng=np.random.default_rng(1))
    for rank in range(3):
        part = Ranks(rank, 3).part(7)
        own = augment(images[part], how, rng=np.random.default_rng(1), n_batch=7, part=part)
        assert torch.equal(own, whole[part])


def test_the_parts_of_inputs_are_together_what_one_process_sees():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 16, 16, 3), np.uint8)
    features = rng.normal(size=(8, 20, 4)).astype(np.float32)
    rows = rng.permutation(20)[:9]
    for inputs in (
        ImageInputs(images, (0.5,) * 3, (0.3,) * 3, EVERYTHING, seed=3),
        FeatureInputs(features, seed=3),
    ):
        whole = inputs.to_learn(rows, 5, CPU)
        parts = [inputs.to_learn(rows, 5, CPU, part=Ranks(rank, 4).part(9)) for rank in range(4)]
        assert torch.equal(torch.cat(parts), whole)
        assert not torch.equal(whole, inputs.to_learn(rows, 6, CPU))


def test_alone_nothing_is_exchanged():
    weight = torch.ones(2, requires_grad=True)
    weight.grad = torch.ones(2)
    loss = torch.tensor(0.5)
    assert ALONE.sum_gradients([weight], loss) is loss
    assert ALONE.agreed(0.1) == 0.1
    assert ALONE.part(5) == slice(0, 5)
    ALONE.meet()
    assert not torch.distributed.is_initialized()


def test_a_process_knows_its_place_by_what_torchrun_sets(monkeypatch):
    assert launch() is None
    for name, value in places(3)[2].items():
        monkeypatch.setenv(name, value)
    assert launch() == Launch(2, 3, 2, 3)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SettingsError, match="RANK is 2, and WORLD_SIZE is 2"):
        launch()
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(SettingsError, match="WORLD_SIZE is 'two'"):
        launch()
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert launch() is None


def test_a_place_that_is_impossible_is_one_message(call_here, monkeypatch):
    for rank, n_ranks in (("x", "2"), ("5", "2"), ("0", "0")):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("WORLD_SIZE", n_ranks)
        done = call_here("train", "malaria")
        assert done.returncode == 2, (rank, n_ranks)
        assert done.stderr.count("error:") == 1
        assert "torchrun" in done.stderr


UNREACHABLE = """
import re
import sys
from diascope.__main__ import main
from diascope.system.environment import settle_torch
settle_torch()
from diascope.training import joining
joining.JOIN_SECONDS = 3.0
sys.argv = ["diascope", "train", "malaria"]
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_ranks_that_do_not_find_each_other_say_so_in_one_message(number):
    """Rank 0 waits for the others in vain; rank 1 finds no one at the address."""
    place = {**places(2)[number], "LOCAL_RANK": "0"}
    ((code, said, errors),) = run(["-c", UNREACHABLE], place=place)
    assert (code, said) == (2, "")
    problem, where, what_to_do = errors.splitlines()
    assert re.match(r"error: The 2 ranks did not come together in \d+ s: ", problem)
    assert where == f"  where: rank {number}, at 127.0.0.1:{place['MASTER_PORT']}"
    assert "rendezvous address and port" in what_to_do
