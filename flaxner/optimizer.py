"""AdamW with linear warm-up and decay (Loshchilov and Hutter 2019; Devlin et al. 2019, A.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optax


def linear_schedule(peak: float, steps: int, warmup_ratio: float) -> optax.Schedule:
    """0 -> peak over the first share of the steps, then peak -> 0 at `steps`.

    As `transformers.get_linear_schedule_with_warmup`: the first warm-up step has rate 0.
    """
    warmup = round(steps * warmup_ratio)
    decay = optax.linear_schedule(peak, 0.0, max(steps - warmup, 1))
    if not warmup:
        return decay
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), decay], [warmup])


def decay_mask(params: Mapping[str, Any]) -> dict[str, bool]:
    """True where weight decay applies: not on biases and layer norms."""
    return {path: not path.endswith(("/bias", "/scale")) for path in params}


def make_optimizer(
    schedule: optax.Schedule,
    *,
    weight_decay: float = 0.01,
    max_grad_norm: float = 1.0,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
) -> optax.GradientTransformation:
    """Clipping by global norm (0: none), then AdamW with decoupled weight decay.

    The update equals torch.optim.AdamW's after torch.nn.utils.clip_grad_norm_.
    """
    adamw = optax.adamw(
        schedule, b1=beta1, b2=beta2, eps=epsilon, weight_decay=weight_decay, mask=decay_mask
    )
    if max_grad_norm <= 0:
        return adamw
    return optax.chain(optax.clip_by_global_norm(max_grad_norm), adamw)
