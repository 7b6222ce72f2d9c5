# %% [markdown]
# # Malaria: does this blood cell contain a parasite?
#
# From the files to a report that says when not to believe the network. The cells are those of
# the US National Library of Medicine: red cells of 200 people, cut out of thin blood smears.
# Where the official files are not on this machine, a drawn miniature takes their place: then
# everything runs in a minute, and the figures mean nothing.

# %%
import os
from pathlib import Path

import diascope
from diascope.datasets import malaria

# The folder with cell_images.zip; `diascope prepare malaria` without one downloads it, 353 MB.
source = Path(os.environ.get("DIASCOPE_TEST_DATA", "data"), "malaria")
if not source.is_dir():
    source = Path("miniature/malaria")
    malaria.fake(source)

# %% [markdown]
# ## Prepare
#
# Every image is opened once. Cells of one patient share a stain and a camera, so that a network
# can learn the patient instead of the parasite: whole patients go into train, val or test.

# %%
prepared = diascope.prepare("malaria", source=source)
for split, counts in prepared.fingerprint["splits"].items():
    print(f"{split}: {counts['n_images']:,} cells of {counts['n_groups']} patients")

# %% [markdown]
# ## Look, before anything is trained
#
# The page has examples of both classes, sizes and brightness; the test images stay sealed. The
# chart shows how many cells each of 56 patients has: 17 have no parasitized cell at all, so to
# recognise the patient would give the label away.
#
# ![Cells of each patient](../docs/story_malaria.png)

# %%
print(diascope.show("malaria"))

# %% [markdown]
# ## Train
#
# A small network, from scratch. `plan.json` in the run has a reason for every number.

# %%
run = diascope.train("malaria", out="runs/malaria-story")

# %% [markdown]
# ## Evaluate on patients that were never seen
#
# This opens the test images. The opening is logged, and the report states how often they were
# opened. The interval comes from resampling whole patients: with few of them it is wide.

# %%
metrics = diascope.evaluate(run)
auroc = metrics["estimates"]["auroc"]
interval = "too few for an interval"
if auroc["low"] is not None:
    interval = f"95 % interval {auroc['low']:.3f} to {auroc['high']:.3f}"
print(f"AUROC {auroc['value']:.3f} over {auroc['n_groups']} patients: {interval}")
for warning in metrics["warnings"]:
    print("beware:", warning)

# %% [markdown]
# ## Report
#
# One page: results, controls (does a colour histogram do as well?), calibration, errors, proof
# that the split does not leak, and a check against reporting checklists. Much of these is
# answered by the publication of the data; what only you know is asked in `dossier.yaml`.

# %%
print(diascope.report(run))
