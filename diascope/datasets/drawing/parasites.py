"""Draw malaria parasites on a cell, and what is mistaken for them.

Parasites: the ring (a thin loop of cytoplasm with one or two dots of chromatin) and the
trophozoite (a ragged body with chromatin and brown pigment). Mimics, drawn with the same dyes:
platelets, stain precipitate, dirt, smears of stain, nuclear remnants (Howell-Jolly bodies),
rings left by drying, and basophilic stippling.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from diascope.datasets.drawing.red_cell import N_ANGLES, Cell, Patch, clouds, ramp

# Amount of dye that debris adds up to: density units times pixels, and the spread of its logarithm.
DYE_PX, DYE_SPREAD = 100.0, 0.7
UNTOUCHED = 0.2  # share of the cells that get no debris


@dataclass(frozen=True)
class Parasite:
    """Where a parasite lies in the frame of its cell."""

    # x_px, y_px, radius_px: centre and radius of a circle that holds it
    x_px: float
    y_px: float
    radius_px: float
    stage: str  # ``"ring"`` or ``"trophozoite"``


def add_parasite(cell: Cell, rng: np.random.Generator) -> Parasite:
    """Draw one parasite on ``cell`` and return where it is: four rings to one trophozoite."""
    stain = float(np.clip(np.exp(rng.normal(-0.15, 0.28)), 0.5, 1.3))
    if rng.uniform() < 0.8:
        return _add_ring(cell, rng, stain=stain)
    return _add_trophozoite(cell, rng, stain=stain)


def add_debris(cell: Cell, rng: np.random.Generator) -> None:
    """Leave a fifth of the cells as they are; draw up to two mimics on the others.

    They are drawn until the cell bears the amount of dye that was drawn for it. That has one
    distribution for all cells, and a parasite counts towards it: so the amount of dye, and with it
    the colour histogram, says little about the presence of a parasite.
    """
    wanted = rng.lognormal(np.log(DYE_PX), DYE_SPREAD) * cell.smear.scale**2
    if rng.uniform() < UNTOUCHED:
        return
    draws = tuple(MIMICS)
    weights = np.array([MIMICS[draw] for draw in draws])
    for choice in rng.choice(len(draws), 2, replace=False, p=weights / weights.sum()):
        if cell.dye_px() >= wanted:
            return
        draws[choice](cell, rng)


def add_blotches(cell: Cell, rng: np.random.Generator) -> None:
    """Draw faint patches of uneven staining, whatever else is on the cell."""
    for _ in range(int(rng.choice([0, 0, 1, 2]))):
        radius = rng.uniform(8, 25)
        x, y = _site(cell, rng, radius_px=0.3 * radius, tries=1)
        patch = cell.patch(x, y, 1.3 * radius + 4)
        blotch = _ragged(patch, rng, radius_px=radius, soft_px=radius)
        cell.dye[patch.where] += np.float32(rng.uniform(0.02, 0.1)) * blotch


def _site(
    cell: Cell, rng: np.random.Generator, *, radius_px: float, tries: int = 4
) -> tuple[float, float]:
    """Return x, y so that something of this radius lies on the cell and inside the mask.

    Of ``tries`` such places it is the one with the least dye around.
    """
    angles = rng.uniform(0, 2 * np.pi, tries)
    room = cell.room_px[(angles / (2 * np.pi) * N_ANGLES).astype(int) % N_ANGLES]
    reaches = np.maximum(room - radius_px - 1, 0) * np.sqrt(rng.uniform(0.02, 1, tries))
    places = [cell.place(*at) for at in zip(angles.tolist(), reaches.tolist(), strict=True)]
    if tries == 1:
        return places[0]
    return min(places, key=lambda place: cell.dye_around(*place, 14 + radius_px))


def _dot(
    cell: Cell,
    rng: np.random.Generator,
    *,
    at: tuple[float, float],
    radius_px: float,
    amount: float,
    along: float | None = None,
) -> None:
    """Add a compact dot of dye, oblong in the direction ``along`` or in any."""
    patch = cell.patch(at[0], at[1], radius_px * 2.2 + 3)
    stretch = rng.uniform(1.0, 1.45)
    dot = patch.ellipse(
        (radius_px * stretch, radius_px / stretch * rng.uniform(0.85, 1.1)),
        angle=rng.uniform(0, np.pi) if along is None else along,
        soft_px=rng.uniform(2.5, 4.5),
    )
    cell.dye[patch.where] = np.maximum(cell.dye[patch.where], np.float32(amount) * dot)


def _ragged(
    patch: Patch, rng: np.random.Generator, *, radius_px: float, soft_px: float
) -> np.ndarray:
    """Return the coverage 0-1 of a lobed body with a ragged border."""
    along, across = patch.turned(rng.uniform(0, np.pi))
    across = across * np.float32(rng.uniform(1.0, 1.8))
    angle = np.arctan2(across, along)
    border = np.float32(1)
    for order in range(2, 6):
        wave = np.cos(order * angle + np.float32(rng.uniform(0, 2 * np.pi)))
        border = border + np.float32(rng.normal(0, 0.22 / order**0.5)) * wave
    inside = np.clip(border, 0.4, 1.35) * np.float32(radius_px / 1.35) - np.hypot(along, across)
    return ramp(inside / np.float32(soft_px) + np.float32(0.5))


def _grain(patch: Patch, rng: np.random.Generator, *, depth: float) -> np.ndarray:
    """Return a factor around 1 that makes a body clumpy."""
    height, width = patch.dy.shape[0], patch.dx.shape[1]
    texture = clouds(rng, int(rng.integers(5, 9)), max(height, width, 1))
    return np.clip(1 + np.float32(depth) * texture[:height, :width], 0.15, 2)


def _add_ring(cell: Cell, rng: np.random.Generator, *, stain: float) -> Parasite:
    """Draw a loop, thick and thin and often open, with chromatin on it and a hollow inside."""
    scale = cell.smear.scale
    radius = rng.triangular(9, 13, 21) * scale
    flat = rng.uniform(0.55, 1.0)
    wall = rng.uniform(2.4, 4.2) * scale
    x, y = _site(cell, rng, radius_px=rng.uniform(0.3, 1) * radius)
    turn, chromatin_at = rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi)
    patch = cell.patch(x, y, radius + wall + 5)
    along, across = patch.turned(turn)
    across = across / np.float32(flat)
    distance, angle = np.hypot(along, across), np.arctan2(across, along)
    middle = radius - 0.5 * wall
    loop = middle * (1 + _lobes(rng, angle, amount=0.12))
    away = np.cos(angle - np.float32(chromatin_at + rng.normal(0, 1.3)))
    density = np.clip(0.5 + rng.uniform(0.1, 0.6) * away + _lobes(rng, angle, amount=0.2), 0, 1.4)
    thick = 0.5 * wall * np.clip(0.5 + 0.75 * density, 0.4, 1.4)
    coverage = ramp((thick - np.abs(distance - loop)) / rng.uniform(2.5, 4.5) + 0.65)
    body = stain * rng.uniform(0.28, 0.6) * density * coverage
    cell.dye[patch.where] += body.astype(np.float32)
    hollow = ramp((loop - 0.5 * wall - distance) / 4 + 0.5) * rng.uniform(0.15, 0.55)
    cell.haemoglobin[patch.where] *= (1 - hollow).astype(np.float32)
    second = chromatin_at + rng.choice([rng.uniform(0.5, 1.0), rng.uniform(2, 3)])
    for angle_of_dot in (chromatin_at, second) if rng.uniform() < 0.25 else (chromatin_at,):
        forward, sideways = middle * np.cos(angle_of_dot), middle * flat * np.sin(angle_of_dot)
        at = (
            x + forward * np.cos(turn) - sideways * np.sin(turn),
            y + forward * np.sin(turn) + sideways * np.cos(turn),
        )
        size, amount = rng.uniform(2.5, 4.8) * scale, stain * rng.uniform(0.7, 1.1)
        tangent = turn + angle_of_dot + np.pi / 2 + rng.normal(0, 0.4)
        _dot(cell, rng, at=at, radius_px=size, amount=amount, along=tangent)
    return Parasite(x_px=x, y_px=y, radius_px=radius + wall, stage="ring")


def _lobes(rng: np.random.Generator, angle: np.ndarray, *, amount: float) -> np.ndarray:
    """Return a wavy deviation (h, w) from a circle or from even density, by angle."""
    curve = np.zeros_like(angle)
    for order in (1, 2, 3, 5):
        wave = np.cos(order * angle + np.float32(rng.uniform(0, 2 * np.pi)))
        curve += np.float32(rng.normal(0, amount / order**0.5)) * wave
    return curve


def _add_trophozoite(cell: Cell, rng: np.random.Generator, *, stain: float) -> Parasite:
    scale = cell.smear.scale
    radius = rng.uniform(13, 21) * scale
    x, y = _site(cell, rng, radius_px=0.8 * radius)
    patch = cell.patch(x, y, radius + 6)
    body = _ragged(patch, rng, radius_px=radius, soft_px=rng.uniform(3, 7))
    body = body * _grain(patch, rng, depth=0.35)
    hole = patch.ellipse(
        (rng.uniform(0.3, 0.5) * radius, 0.3 * radius), angle=rng.uniform(0, np.pi), soft_px=4
    )
    body = body * (1 - np.float32(rng.uniform(0.6, 1.0)) * hole)
    cell.haemoglobin[patch.where] *= 1 - np.float32(rng.uniform(0.1, 0.5)) * hole
    cell.dye[patch.where] += np.float32(stain * rng.uniform(0.18, 0.38)) * body
    for _ in range(2 if rng.uniform() < 0.3 else 1):
        angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.6) * radius
        at = (x + away * np.cos(angle), y + away * np.sin(angle))
        amount = stain * rng.uniform(0.75, 1.1)
        _dot(cell, rng, at=at, radius_px=rng.uniform(3, 5) * scale, amount=amount)
    for _ in range(rng.integers(2, 9)):
        angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.5) * radius
        grain = cell.patch(x + away * np.cos(angle), y + away * np.sin(angle), 6)
        size = rng.uniform(0.8, 1.8)
        speck = grain.ellipse((size, size), angle=0.0, soft_px=1.5)
        cell.ink[grain.where] += np.float32(rng.uniform(0.2, 0.6)) * speck
    return Parasite(x_px=x, y_px=y, radius_px=radius, stage="trophozoite")


def _add_platelet(cell: Cell, rng: np.random.Generator) -> None:
    """Draw a granular, hazy body, often with a pale halo, on the cell or beside it."""
    scale = cell.smear.scale
    radius = rng.uniform(7, 12) * scale
    if cell.bump_angle is not None and rng.uniform() < 0.7:
        index = int(cell.bump_angle / (2 * np.pi) * len(cell.outline_px)) % len(cell.outline_px)
        away = cell.outline_px[index] + rng.uniform(-0.3, 0.8) * radius
        x = cell.centre_px + away * np.cos(cell.bump_angle)
        y = cell.centre_px + away * np.sin(cell.bump_angle)
    else:
        x, y = _site(cell, rng, radius_px=0.8 * radius)
    patch = cell.patch(x, y, radius * 1.7 + 6)
    body = _ragged(patch, rng, radius_px=radius, soft_px=rng.uniform(5, 10))
    body = body * _grain(patch, rng, depth=rng.uniform(0.3, 0.7))
    halo = patch.ellipse((1.3 * radius, 1.2 * radius), angle=0.0, soft_px=8)
    cell.haemoglobin[patch.where] *= 1 - np.float32(rng.uniform(0, 0.35)) * halo
    cell.dye[patch.where] += np.float32(rng.uniform(0.15, 0.4)) * body
    for _ in range(rng.integers(2, 6)):
        angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.75) * radius
        at = (x + away * np.cos(angle), y + away * np.sin(angle))
        amount = rng.uniform(0.3, 1.0)
        _dot(cell, rng, at=at, radius_px=rng.uniform(1.6, 3.2) * scale, amount=amount)


def _add_precipitate(cell: Cell, rng: np.random.Generator) -> None:
    """Draw sharp grains of undissolved stain of all sizes, in a clump or scattered."""
    spread = rng.uniform(3, 12)
    x, y = _site(cell, rng, radius_px=8)
    film = cell.patch(x, y, 34)
    haze = _ragged(film, rng, radius_px=rng.uniform(6, 16), soft_px=8)
    cell.dye[film.where] += np.float32(rng.uniform(0.05, 0.25)) * haze
    for _ in range(rng.integers(1, 5)):
        dx, dy = rng.normal(0, spread, 2)
        size = rng.uniform(1.0, 3.2) * cell.smear.scale
        patch = cell.patch(x + dx, y + dy, size + 5)
        radii = (size * rng.uniform(1, 1.7), size)
        grain = patch.ellipse(radii, angle=rng.uniform(0, np.pi), soft_px=rng.uniform(2, 4))
        amount = np.float32(rng.uniform(0.35, 1.3))
        cell.dye[patch.where] = np.maximum(cell.dye[patch.where], amount * grain)
        cell.ink[patch.where] += np.float32(rng.uniform(0.0, 0.1)) * grain


def _add_dirt(cell: Cell, rng: np.random.Generator) -> None:
    """Draw a dark or brownish fleck, mostly out of focus."""
    radius = rng.uniform(3, 8) * cell.smear.scale
    x, y = _site(cell, rng, radius_px=0.7 * radius)
    patch = cell.patch(x, y, radius * 2 + 8)
    ratio = rng.uniform(0.4, 0.9)
    fleck = patch.ellipse(
        (radius, ratio * radius), angle=rng.uniform(0, np.pi), soft_px=rng.uniform(3, 10)
    )
    cell.ink[patch.where] += np.float32(rng.uniform(0.1, 0.5)) * fleck
    cell.dye[patch.where] += np.float32(rng.uniform(0.2, 1.0)) * fleck


def _add_stain_smear(cell: Cell, rng: np.random.Generator) -> None:
    """Draw streaks of stain in the direction of smearing."""
    x, y = _site(cell, rng, radius_px=10)
    direction, spread = rng.uniform(0, np.pi), rng.uniform(2, 6)
    for _ in range(rng.integers(1, 5)):
        away, aside = rng.normal(0, 2 * spread), rng.normal(0, spread)
        dx = away * np.cos(direction) - aside * np.sin(direction)
        dy = away * np.sin(direction) + aside * np.cos(direction)
        length = rng.uniform(4, 12) * cell.smear.scale
        patch = cell.patch(x + dx, y + dy, length + 5)
        streak = patch.ellipse(
            (length, rng.uniform(1.2, 2.6)),
            angle=direction + rng.normal(0, 0.15),
            soft_px=rng.uniform(3, 5),
        )
        cell.dye[patch.where] += np.float32(rng.uniform(0.1, 0.65)) * streak


def _add_remnant(cell: Cell, rng: np.random.Generator) -> None:
    """Draw one or two round dense dots, with no cytoplasm: Howell-Jolly bodies."""
    for _ in range(2 if rng.uniform() < 0.25 else 1):
        radius = rng.uniform(2.5, 4.8) * cell.smear.scale
        x, y = _site(cell, rng, radius_px=radius)
        patch = cell.patch(x, y, radius + 8)
        radii = (radius, rng.uniform(0.8, 1.0) * radius)
        dot = patch.ellipse(radii, angle=rng.uniform(0, np.pi), soft_px=rng.uniform(2, 4))
        haze = patch.ellipse((radius + 4, radius + 3), angle=0.0, soft_px=6)
        cell.dye[patch.where] += np.float32(rng.uniform(0.1, 0.35)) * haze
        cell.dye[patch.where] += np.float32(rng.uniform(0.5, 1.1)) * dot


def _add_drying_ring(cell: Cell, rng: np.random.Generator) -> None:
    """Draw a closed, even ring around a refractile spot, left by a drying droplet; no chromatin."""
    radius, wall = rng.uniform(6, 17) * cell.smear.scale, rng.uniform(1.5, 3.5)
    x, y = _site(cell, rng, radius_px=radius)
    patch = cell.patch(x, y, radius + 8)
    along, across = patch.turned(rng.uniform(0, np.pi))
    across = across * np.float32(rng.uniform(1.0, 1.4))
    distance, angle = np.hypot(along, across), np.arctan2(across, along)
    loop = (radius - wall) * (1 + _lobes(rng, angle, amount=0.04))
    ring = ramp((0.5 * wall - np.abs(distance - loop)) / 3 + 0.6)
    inside = ramp((loop - wall - distance) / 4 + 0.5)
    cell.haemoglobin[patch.where] *= 1 - np.float32(rng.uniform(0.2, 0.8)) * inside
    even = 1 + _lobes(rng, angle, amount=0.12)
    cell.dye[patch.where] += np.float32(rng.uniform(0.3, 1.1)) * ring * even
    cell.ink[patch.where] += np.float32(rng.uniform(0.0, 0.1)) * ring


def _add_stippling(cell: Cell, rng: np.random.Generator) -> None:
    """Draw many fine dots all over the cell."""
    amount = rng.uniform(0.2, 0.9)
    for _ in range(rng.integers(5, 14)):
        at = _site(cell, rng, radius_px=4, tries=1)
        size = rng.uniform(0.8, 1.8) * cell.smear.scale
        _dot(cell, rng, at=at, radius_px=size, amount=amount * rng.uniform(0.5, 1.4))


MIMICS: dict[Callable[[Cell, np.random.Generator], None], float] = {
    _add_platelet: 0.26,
    _add_precipitate: 0.20,
    _add_remnant: 0.20,
    _add_stain_smear: 0.24,
    _add_drying_ring: 0.01,
    _add_dirt: 0.06,
    _add_stippling: 0.03,
}
