"""Layers that look at more than one image, for a batch that is divided among ranks.

Batch normalisation takes its statistics over the batch of all ranks, and dropout draws its mask for
all of it. So the step does not depend on the number of ranks. All other layers treat each image by
itself. torch has `SyncBatchNorm`, which refuses tensors on a processor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from diascope.training.distributed import Ranks


def whole_batch(ranks: Ranks, n_batch: int) -> AbstractContextManager[Any]:
    """Return the context in which a network in training sees its part of a batch of ``n_batch``."""
    return _WholeBatch(ranks, n_batch) if ranks.n_ranks > 1 else nullcontext()


class _WholeBatch(TorchFunctionMode):
    """Replaces two functions of torch, which the layers of torch and of timm call."""

    def __init__(self, ranks: Ranks, n_batch: int) -> None:
        super().__init__()
        self.ranks, self.n_batch = ranks, n_batch

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        given: tuple[Any, ...] = (),
        named: dict[str, Any] | None = None,
    ) -> Any:
        own = {F.batch_norm: self._batch_norm, F.dropout: self._dropout}.get(func, func)
        return own(*given, **(named or {}))

    def _batch_norm(
        self,
        input: Tensor,  # noqa: A002 - as torch calls it
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training:
            return F.batch_norm(input, running_mean, running_var, weight, bias, eps=eps)
        mean, var, count = global_moments(input.detach(), self.ranks)
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((var * (count / (count - 1))).to(running_var.dtype), momentum)
        normalised: Any = _Normalised.apply(input, weight, bias, mean, var, count, eps, self.ranks)
        return normalised

    def _dropout(
        self,
        input: Tensor,  # noqa: A002 - as torch calls it
        p: float = 0.5,
        training: bool = True,
        inplace: bool = False,
    ) -> Tensor:
        part = self.ranks.part(self.n_batch)
        times, rest = divmod(len(input), part.stop - part.start)  # windows of an image, or heads
        if not training or p == 0 or rest:
            return F.dropout(input, p, training, inplace)
        shape = (self.n_batch * times, *input.shape[1:])
        layout = torch.contiguous_format
        if input.ndim == 4 and input.is_contiguous(memory_format=torch.channels_last):
            layout = torch.channels_last
        whole = torch.ones(shape, dtype=input.dtype, device=input.device)
        mask = F.dropout(whole.contiguous(memory_format=layout), p)
        return input * mask[part.start * times : part.stop * times]


def global_moments(x: Tensor, ranks: Ranks) -> tuple[Tensor, Tensor, float]:
    """Return mean and variance (C,) of each channel over all ranks, and the count of its values.

    The moments of each rank are joined (Chan et al. 1983): sums of squares would lose digits.

    Parameters
    ----------
    x : (B, C, ...)
        The part of this rank.
    """
    mean, var = _own_moments(x)
    own = torch.cat([mean, var, mean.new_tensor([x.numel() / x.shape[1]])])
    n_channels = len(mean)
    means, variances, counts = ranks.of_each(own).split([n_channels, n_channels, 1], dim=1)
    fractions = counts / counts.sum()
    mean = (fractions * means).sum(dim=0)
    var = (fractions * (variances + (means - mean) ** 2)).sum(dim=0)
    return mean, var, float(counts.sum())


def _own_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance (C,) of each channel of (B, C, ...), at least in single precision.

    On a processor by the kernel that batch normalisation itself uses: on images whose channels lie
    side by side it takes a thirtieth of the time of `torch.var_mean`.
    """
    precise = torch.promote_types(x.dtype, torch.float32)
    if x.device.type == "cpu":
        running = torch.zeros(2, x.shape[1], dtype=precise)  # says how precise the moments are
        mean, var = torch.batch_norm_update_stats(x, running[0], running[1], 0.0)
        return mean, var
    var, mean = torch.var_mean(x.to(precise), [0, *range(2, x.ndim)], correction=0)
    return mean, var


class _Normalised(torch.autograd.Function):
    """Batch normalisation by given moments of all ranks, which the gradient goes through, too."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        var: Tensor,
        count: float,
        eps: float,
        ranks: Ranks,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, var)
        ctx.count, ctx.eps, ctx.ranks = count, eps, ranks
        return F.batch_norm(x, mean, var, weight, bias, eps=eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, var = ctx.saved_tensors
        (gradient,) = gradients
        if x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last):
            gradient = gradient.contiguous(memory_format=torch.channels_last)
        is_half = x.dtype.itemsize < mean.dtype.itemsize
        scaled, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, mean, var, None, None, False, ctx.eps, [is_half, True, True]
        )
        sums = ctx.ranks.of_each(torch.stack([of_weight, of_bias])).sum(dim=0) / ctx.count
        steepness = (var + ctx.eps).rsqrt()
        scale = steepness if weight is None else steepness * weight
        slope = -scale * steepness * sums[0]
        offset = -scale * sums[1] - slope * mean
        if is_half:  # by kernels that mix precisions: to convert x would take much longer
            none, one = torch.zeros_like(mean), torch.ones_like(var)
            of_x = scaled.add_(F.batch_norm(x, none, one, slope, offset, eps=0.0))
        else:
            shape = (1, -1, *(1,) * (x.ndim - 2))
            of_x = torch.addcmul(offset.view(shape), x, slope.view(shape))
            of_x = of_x.addcmul_(gradient, scale.view(shape))
        has_weight = weight is not None
        return (
            of_x,
            of_weight if has_weight else None,
            of_bias if has_weight else None,
            *(None,) * 5,
        )
