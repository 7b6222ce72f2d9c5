"""The slides of invented patients: how each was stained, lit and photographed.

The ranges were measured on public crops of Giemsa-stained thin smears; no pixel is copied.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TYPICAL_DIAMETER_PX = 112.0  # what the sizes in parasites.py are for

# Colour of the cells, its spread between patients, and of the empty slide (red, green, blue).
PINK = np.array([200.0, 147.0, 149.0]), np.array([11.0, 8.0, 6.0]), np.array([224.0, 190.0, 168.0])
LILAC = np.array([168.0, 161.0, 179.0]), np.array([9.0, 9.0, 4.0]), np.array([206.0, 206.0, 196.0])
# Optical densities (natural logarithm) of Giemsa-stained chromatin on either kind of slide.
PINK_DYE, LILAC_DYE = np.array([0.21, 1.15, 0.22]), np.array([0.24, 1.05, 0.08])
INK = np.array([0.85, 0.95, 0.90])


@dataclass(frozen=True)
class Smear:
    """How one patient's slide was stained, lit and photographed."""

    light: np.ndarray  # float (3,): colour of the empty slide, red, green, blue, 0-255
    # haemoglobin, dye, ink: float (3,): optical density of one unit of cell, of parasite stain and
    # of dark matter
    haemoglobin: np.ndarray
    dye: np.ndarray
    ink: np.ndarray
    # diameter_px, diameter_spread: mean cell diameter, and the standard deviation of its logarithm
    diameter_px: float
    diameter_spread: float
    # pallor, pallor_width, pallor_power: depth (0-1), relative radius and steepness of the pale
    # centre
    pallor: float
    pallor_width: float
    pallor_power: float
    # unevenness, roughness: how far cells are from round, and how ragged the mask is
    unevenness: float
    roughness: float
    # edge_px, margin_px: softness of the cell's edge, and how far the mask reaches beyond it
    edge_px: float
    margin_px: float
    # offset_px, offset_angle: how far the mask lies beside the cell, and in which direction
    offset_px: float
    offset_angle: float
    # mottle, slope: unevenness of the haemoglobin and of the light
    mottle: float
    slope: float
    # blur_px, noise: standard deviations of the blur and of the camera noise (0-255)
    blur_px: float
    noise: float
    colour_shift_px: int  # by how much red and blue are displaced against each other
    jpeg_quality: int  # the camera's compression

    @property
    def scale(self) -> float:
        """Magnification relative to the typical slide."""
        return self.diameter_px / TYPICAL_DIAMETER_PX


def stain_smear(rng: np.random.Generator) -> Smear:
    """Return a new patient's slide."""
    blend = rng.choice([0.0, 1.0, rng.uniform(0.2, 0.8)], p=[0.45, 0.4, 0.15])
    centre, spread, light = (p + blend * (q - p) for p, q in zip(PINK, LILAC, strict=True))
    exposure = np.exp(rng.normal(-0.06, 0.12))
    light = light * exposure + rng.normal(0, 5, 3)
    common = rng.normal()
    colour = centre * exposure + spread * (0.7 * common + 0.7 * rng.normal(0, 1, 3))
    colour = np.minimum(colour, light - 6)
    dye = (PINK_DYE + blend * (LILAC_DYE - PINK_DYE)) * np.exp(rng.normal(0, [0.2, 0.1, 0.25]))
    return Smear(
        light=light,
        haemoglobin=np.log(light / colour),
        dye=dye,
        ink=INK * np.exp(rng.normal(0, 0.12, 3)),
        diameter_px=rng.uniform(108, 140),
        diameter_spread=rng.uniform(0.06, 0.12),
        pallor=rng.choice([rng.uniform(0, 0.15), rng.uniform(0.1, 0.5), rng.uniform(0.5, 0.95)]),
        pallor_width=rng.uniform(0.22, 0.45),
        pallor_power=rng.choice([2.0, 2.0, 3.0, 6.0]),
        unevenness=rng.uniform(0.03, 0.09),
        roughness=rng.uniform(0.1, 0.7),
        edge_px=rng.uniform(3, 8),
        margin_px=rng.uniform(-4, 2),
        offset_px=rng.uniform(0, 2.5),
        offset_angle=rng.uniform(0, 2 * np.pi),
        mottle=rng.uniform(0.01, 0.06),
        slope=rng.uniform(0.01, 0.06),
        blur_px=rng.uniform(0.6, 1.7),
        noise=rng.uniform(0.7, 1.7),
        colour_shift_px=int(rng.choice([0, 0, 1, 2])),
        jpeg_quality=int(rng.integers(84, 95)),
    )
