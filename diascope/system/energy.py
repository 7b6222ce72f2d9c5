"""The energy that processors have used, by the counters of the machine where these can be read."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
PACKAGES = "intel-rapl:*[0-9]"  # on processors of AMD too; parts of packages have a second colon
MICRO = 1e-6


@dataclass(frozen=True)
class EnergyCounters:
    """The counters of all processor packages (RAPL), in microjoules, at one moment.

    They count all that the packages do, other programs included, without memory and GPU.
    """

    values: dict[str, int]  # by the name of the package
    ranges: dict[str, int]  # from where a counter begins at 0 again

    def joules_since(self, earlier: EnergyCounters) -> float | None:
        """Return the joules used since; None where no counter could be read both times."""
        shared = sorted(set(self.values) & set(earlier.values))
        if not shared:
            return None
        used = 0
        for name in shared:
            step = self.values[name] - earlier.values[name]
            used += step if step >= 0 else step + self.ranges[name]
        return used * MICRO


def read_energy(folder: Path = POWERCAP) -> EnergyCounters:
    """Read the counters; there are none where the system has none or does not let them be read."""
    values, ranges = {}, {}
    for package in sorted(folder.glob(PACKAGES)):
        if package.name.count(":") > 1:
            continue
        with suppress(OSError, ValueError):
            found = [
                int((package / name).read_text()) for name in ("energy_uj", "max_energy_range_uj")
            ]
            values[package.name], ranges[package.name] = found
    return EnergyCounters(values, ranges)
