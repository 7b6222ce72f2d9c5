# %% [markdown]
# # Breast tissue: is this patch invasive ductal carcinoma?
#
# Two trainings are compared on validation images, and the test cases stay sealed. The patches are
# of the archive IDC_regular_ps50_idx5, one folder a case. Where it is not on this machine, a
# drawn miniature takes its place: then the figures mean nothing.

# %%
import os
from pathlib import Path

import diascope
from diascope.datasets import breast_idc

source = Path(os.environ.get("DIASCOPE_TEST_DATA", "data"), "idc")
if not source.is_dir():
    source = Path("miniature/idc")
    breast_idc.fake(source)

# %% [markdown]
# ## Prepare
#
# Patches of a slide touch each other, and share stain and scanner. A split of patches would leak,
# so whole cases are divided: here by the published lists.

# %%
prepared = diascope.prepare("breast_idc", source=source, split="official")
for split, counts in prepared.fingerprint["splits"].items():
    print(f"{split}: {counts['n_images']:,} patches of {counts['n_groups']} cases")

# %% [markdown]
# ## Look
#
# The chart, of a sample of the archive, shows how many patches a case has: a few cases have
# hundreds. Over patches these weigh most, so intervals come from resampling whole cases.
#
# ![Number of cases by their number of patches](../docs/story_breast_tissue.png)

# %%
print(diascope.show("breast_idc", per="group"))

# %% [markdown]
# ## Two trainings
#
# They differ in the seed alone: how far they are apart is what chance does. A choice between
# networks is made on validation images, never on test images.

# %%
runs = [diascope.train("breast_idc", seed=seed, out=f"runs/breast-story-{seed}") for seed in (0, 1)]
for run in runs:
    auroc = diascope.evaluate(run, split="val")["estimates"]["auroc"]
    print(f"{run.folder.name}: AUROC {auroc['value']:.3f} on {auroc['n_groups']} cases of val")

# %% [markdown]
# ## Report
#
# The report is on validation images, and states that test was never opened. When everything is
# decided, `diascope.evaluate(run)` opens it: once, and logged.

# %%
print(diascope.report(runs[0]))
