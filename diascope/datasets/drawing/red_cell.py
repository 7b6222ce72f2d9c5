"""Draw a red cell on a thin blood smear: its outline, its haemoglobin, its surroundings.

A `Cell` is a stack of optical densities (haemoglobin, dye, dark matter), on which
`diascope.datasets.drawing.parasites` draws and which `diascope.datasets.drawing.camera`
photographs. Arrays by direction have A = 180 entries, counted from the x axis towards the y axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from diascope.datasets.drawing.smear import Smear

STEP_PX = 3  # the mask was made at a third of the resolution
SAMPLE_PX = 2  # densities are drawn at half the resolution: the optics resolve no more
N_ANGLES = 180
ANGLES = np.arange(N_ANGLES) * (2 * np.pi / N_ANGLES)
N_LOBES = 40
COSINES = np.cos(np.outer(np.arange(N_LOBES), ANGLES))
SINES = np.sin(np.outer(np.arange(N_LOBES), ANGLES))


@dataclass(frozen=True)
class Patch:
    """A window of a cell with coordinates around a point."""

    where: tuple[slice, slice]  # rows and columns of the window in the cell's layers
    # dx, dy: float32 (1, w) and (h, 1): distances from the point, in pixels
    dx: np.ndarray
    dy: np.ndarray

    def turned(self, angle: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the coordinates (h, w) along and across the direction ``angle``."""
        cosine, sine = np.float32(math.cos(angle)), np.float32(math.sin(angle))
        return self.dx * cosine + self.dy * sine, self.dy * cosine - self.dx * sine

    def ellipse(self, radii_px: tuple[float, float], *, angle: float, soft_px: float) -> np.ndarray:
        """Return how much of each pixel an ellipse with a soft edge covers, 0-1 (h, w)."""
        along, across = self.turned(angle)
        radius = np.hypot(along / np.float32(radii_px[0]), across / np.float32(radii_px[1]))
        return ramp((1 - radius) * np.float32(min(radii_px) / soft_px) + np.float32(0.5))


@dataclass(frozen=True)
class Cell:
    """A red cell before it is photographed: a frame of optical densities."""

    smear: Smear  # the slide that it lies on
    # haemoglobin, dye, ink: float32 (S, S): amounts of each in units of the smear's densities, a
    # sample every ``SAMPLE_PX`` pixels; drawn on in place
    haemoglobin: np.ndarray
    dye: np.ndarray
    ink: np.ndarray
    inside: np.ndarray  # bool (n, n): the mask, an entry every ``STEP_PX`` pixels
    # float (A,): distance of the cell's border from the centre of the frame, by direction.
    outline_px: np.ndarray
    # float (A,): how far something may lie from the centre and still be on the cell and inside the
    # mask.
    room_px: np.ndarray
    # Direction of a place where the mask takes in something beside the cell.
    bump_angle: float | None
    polychromasia: float  # how much dye a unit of the cell itself takes up: young cells do

    @property
    def centre_px(self) -> float:
        """The cell's centre in pixels, the same for x and y."""
        return len(self.haemoglobin) * SAMPLE_PX / 2

    def place(self, angle: float, reach_px: float) -> tuple[float, float]:
        """Return x, y at a distance from the centre in a direction."""
        centre = self.centre_px
        return centre + reach_px * math.cos(angle), centre + reach_px * math.sin(angle)

    def dye_px(self) -> float:
        """Return the amount of dye inside the mask, in density units times pixels."""
        step = np.arange(len(self.dye)) * SAMPLE_PX // STEP_PX
        return float(self.dye[self.inside[step[:, None], step]].sum()) * SAMPLE_PX**2

    def dye_around(self, x: float, y: float, reach_px: float) -> float:
        """Return the amount of dye in the square of ``reach_px`` around a point, as `dye_px`."""
        columns, rows = slice(*self._span(x, reach_px)), slice(*self._span(y, reach_px))
        return float(self.dye[rows, columns].sum()) * SAMPLE_PX**2

    def _span(self, centre_px: float, reach_px: float) -> tuple[int, int]:
        """Return the first and the last-but-one sample along one axis, cut at the frame."""
        size = len(self.dye)
        first = int((centre_px - reach_px) / SAMPLE_PX)
        last = int((centre_px + reach_px) / SAMPLE_PX) + 1
        return min(max(first, 0), size), min(max(last, 0), size)

    def patch(self, x: float, y: float, reach_px: float) -> Patch:
        """Return the window of ``reach_px`` around a point, cut at the frame."""
        left, right = self._span(x, reach_px)
        top, bottom = self._span(y, reach_px)
        dx = (np.arange(left, right, dtype=np.float32) + 0.5)[None, :] * SAMPLE_PX - np.float32(x)
        dy = (np.arange(top, bottom, dtype=np.float32) + 0.5)[:, None] * SAMPLE_PX - np.float32(y)
        return Patch(where=(slice(top, bottom), slice(left, right)), dx=dx, dy=dy)


def ramp(values: np.ndarray) -> np.ndarray:
    """Return a smooth step from 0 at 0 to 1 at 1 (Perlin's fade, cubic)."""
    clipped = np.minimum(np.maximum(values, 0), 1)
    return clipped * clipped * (3 - 2 * clipped)


def waves(rng: np.random.Generator, orders: range, *, amount: float) -> np.ndarray:
    """Return a random periodic curve (A,) with the given numbers of lobes, mean 0."""
    lobes = np.asarray(orders)
    heights = rng.normal(0, amount, len(lobes)) / lobes**0.8
    phases = rng.uniform(0, 2 * np.pi, len(lobes))
    cosines, sines = heights * np.cos(phases), heights * np.sin(phases)
    return np.einsum("k,ka->a", cosines, COSINES[lobes]) - np.einsum("k,ka->a", sines, SINES[lobes])


def clouds(rng: np.random.Generator, n_cells: int, size_px: int) -> np.ndarray:
    """Return smooth noise (size, size) with ``n_cells`` blobs a side, standard deviation near 1."""
    coarse = rng.standard_normal((n_cells, n_cells), dtype=np.float32)
    return enlarge(coarse, size_px)


def enlarge(coarse: np.ndarray, size_px: int) -> np.ndarray:
    """Return a float32 array enlarged to (size, size) by bicubic interpolation."""
    image = Image.fromarray(np.ascontiguousarray(coarse, dtype=np.float32))
    return np.array(image.resize((size_px, size_px), Image.Resampling.BICUBIC))


def _sector(angle: float, width: float) -> np.ndarray:
    """Return a smooth bump (A,) of height 1 around an angle."""
    away = np.abs((ANGLES - angle + np.pi) % (2 * np.pi) - np.pi)
    return ramp(1.5 - away / width)


def _outline(rng: np.random.Generator, smear: Smear) -> np.ndarray:
    """Return the cell's border (A,) in pixels: round, oval, pressed flat, drop or crenated."""
    radius = smear.diameter_px / 2 * np.exp(rng.normal(0, smear.diameter_spread))
    curve = 1 + waves(rng, range(2, 7), amount=smear.unevenness)
    shape = rng.uniform()
    if shape < 0.25:
        ratio, turn = rng.uniform(0.68, 0.95), rng.uniform(0, np.pi)
        curve /= np.hypot(np.cos(ANGLES - turn), np.sin(ANGLES - turn) / ratio) * np.sqrt(1 / ratio)
    elif shape < 0.5:
        for _ in range(rng.integers(1, 4)):
            away = np.cos(ANGLES - rng.uniform(0, 2 * np.pi))
            flat = rng.uniform(0.72, 0.92) / np.maximum(away, 0.3)
            curve = np.minimum(curve, flat)
    elif shape < 0.57:
        curve += rng.uniform(0.2, 0.5) * _sector(rng.uniform(0, 2 * np.pi), 0.25)
    elif shape < 0.66:
        curve += waves(rng, range(9, 16), amount=0.06)
    return np.clip(radius * curve, 0.45 * radius, 1.7 * radius)


def _mask_border(
    rng: np.random.Generator, smear: Smear, outline: np.ndarray
) -> tuple[np.ndarray, float | None]:
    """Return the mask's border (A,) and the direction of what it takes in beside the cell."""
    fringe = smear.margin_px + smear.offset_px * np.cos(ANGLES - smear.offset_angle)
    border = outline + fringe + rng.normal(0, 1) + waves(rng, range(3, 20), amount=0.6)
    bump_angle = None
    if rng.uniform() < 0.1 + 0.25 * smear.roughness:
        bump_angle = rng.uniform(0, 2 * np.pi)
        bump = _sector(bump_angle, rng.uniform(0.1, 0.35)) * rng.uniform(8, 26)
        border = border + bump * (1 + waves(rng, range(8, 24), amount=smear.roughness))
    if rng.uniform() < 0.6 * smear.roughness:
        for _ in range(rng.integers(1, 4)):
            width = rng.uniform(0.1, 0.4)
            spur = rng.uniform(-14, 12) * _sector(rng.uniform(0, 2 * np.pi), width)
            border = border + spur * (1 + waves(rng, range(8, 24), amount=0.8))
    if rng.uniform() < 0.35 * smear.roughness:
        ragged = ramp(waves(rng, range(2, 5), amount=1.0))
        border = border + ragged * waves(rng, range(5, 24), amount=9.0)
    return np.clip(border, 0.4 * outline, outline + 34), bump_angle


def grow_cell(smear: Smear, rng: np.random.Generator) -> Cell:
    """Return a cell without any inclusion, with a pale centre and bits of its surroundings."""
    outline = _outline(rng, smear)
    mask, bump_angle = _mask_border(rng, smear, outline)
    n_steps = int(np.ceil(2 * max(outline.max(), mask.max()) / STEP_PX)) + 4
    n_steps += n_steps % SAMPLE_PX
    size = n_steps * STEP_PX // SAMPLE_PX
    axis = (np.arange(n_steps) + 0.5 - n_steps / 2) * STEP_PX
    radius, index = _polar(axis)
    thickness = ramp((outline[index] - radius) / smear.edge_px + 0.4)
    thickness *= _pallor(rng, smear, axis=axis, mean_radius=float(outline.mean()))
    thickness *= 1 + rng.uniform(-0.05, 0.12) * (radius / outline.mean()) ** 2
    if bump_angle is not None and rng.uniform() < 0.55:
        neighbour = _neighbour(rng, smear, axis=axis, angle=bump_angle, outline=outline)
        thickness = np.maximum(thickness, neighbour) + 0.4 * np.minimum(thickness, neighbour)
    haemoglobin = enlarge(thickness, size) * np.float32(np.exp(rng.normal(0, 0.18)))
    haemoglobin *= 1 + np.float32(smear.mottle) * clouds(rng, int(rng.choice([4, 7, 14])), size)
    return Cell(
        smear=smear,
        haemoglobin=haemoglobin,
        dye=np.zeros((size, size), np.float32),
        ink=np.zeros((size, size), np.float32),
        inside=radius <= mask[index],
        outline_px=outline,
        room_px=_narrowest(np.minimum(outline, mask)),
        bump_angle=bump_angle,
        polychromasia=rng.uniform(0.05, 0.25) if rng.uniform() < 0.04 else 0.0,
    )


def _narrowest(border_px: np.ndarray) -> np.ndarray:
    """Return the least of a border (A,) within 0.3 radians of each direction."""
    turns = np.arange(-8, 9, 4)[:, None] + np.arange(N_ANGLES)
    return border_px[turns % N_ANGLES].min(axis=0)


def _polar(axis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return distance from the centre and index into the angles for a square grid."""
    x, y = axis[None, :], axis[:, None]
    angle = np.arctan2(y, x) / (2 * np.pi) * N_ANGLES
    return np.hypot(x, y), angle.astype(np.int64) % N_ANGLES


def _pallor(
    rng: np.random.Generator, smear: Smear, *, axis: np.ndarray, mean_radius: float
) -> np.ndarray:
    """Return the factor by which the pale centre thins the cell, on the coarse grid."""
    depth = np.clip(smear.pallor * rng.uniform(0.3, 1.3), 0, 0.97)
    width = smear.pallor_width * rng.uniform(0.6, 1.3) * mean_radius
    shift, turn = rng.normal(0, 0.1 * mean_radius, 2), rng.uniform(0, np.pi)
    x, y = axis[None, :] - shift[0], axis[:, None] - shift[1]
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    distance = np.hypot(along / rng.uniform(1.0, 1.6), across) / width
    return 1 - depth * np.exp(-(distance**smear.pallor_power))


def _neighbour(
    rng: np.random.Generator,
    smear: Smear,
    *,
    axis: np.ndarray,
    angle: float,
    outline: np.ndarray,
) -> np.ndarray:
    """Return the thickness of a cell beside this one, on the coarse grid."""
    radius = smear.diameter_px / 2 * rng.uniform(0.7, 1.1)
    away = outline[int(angle / (2 * np.pi) * N_ANGLES) % N_ANGLES] + radius + rng.uniform(-8, 6)
    x, y = axis[None, :] - away * np.cos(angle), axis[:, None] - away * np.sin(angle)
    thickness = ramp((radius - np.hypot(x, y)) / smear.edge_px + 0.4)
    return np.asarray(thickness * rng.uniform(0.8, 1.1))
