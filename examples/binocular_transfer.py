"""Binocular transfer from end to end, far too small: pairs of views, a hand prior, what it learns from pairs, a hand.

python examples/binocular_transfer.py toy

It shows what is called and what comes out. A few steps teach next to nothing: this is no model, and its errors are
those of a guess. For one, see `handkit pretrain hand-prior --help` and `handkit selfsup binocular --help`.
"""

import sys
from pathlib import Path

import numpy as np

from handkit.data.sample import HandSample
from handkit.data.stereo import StereoDataset
from handkit.detect.detection import box_around
from handkit.fit import fit_meshes
from handkit.inference.binocular import load_binocular
from handkit.inference.keypoints import SeenKeypoints
from handkit.inference.looks import look_at
from handkit.inference.views import View
from handkit.recipe import load_recipe
from handkit.runs.binocular import BinocularOptions, selfsup_binocular
from handkit.runs.hand_prior import pretrain_hand_prior
from handkit.synth.generate import run_generate
from handkit.synth.stereo import StereoRecipe
from handkit.synth.stereo_job import StereoJob

out = Path(sys.argv[1])
job = StereoJob(
    out=out / "stereo",
    recipe=load_recipe(StereoRecipe, "stereo-target", ["width=320", "height=240"]),
    seed=0,
    split="train",
    sequences=10,
    shard_size=10,
    backgrounds=None,
    hand_model="open",
)
run_generate(job, workers=1)

steps = ["learning.steps=4", "learning.batch=4", "train.validate_every=2", "data.held_out=0.2"]
tiny = [f'data.shards=["{job.out}"]', "data.validation_hands=4", "network.size=64", "network.features=16"]
prior = pretrain_hand_prior(out / "prior", recipe="hand-prior-small", changes=[*steps, *tiny], device="cpu").run
learned = selfsup_binocular(
    out / "binocular",
    BinocularOptions(init=prior.weights),
    recipe="binocular-small",
    changes=[*steps, f'data.shards="{job.out}"'],
    device="cpu",
)
for name, figures in (("before", learned.before), ("after", learned.after)):
    print(f"{name}: vertices off by {figures['mpvpe_mm']:.0f} mm, the views by {figures['epipolar_gap_px']:.1f} px")

predictor = load_binocular(learned.run.weights)


def see(sample: HandSample) -> View:
    """The hand of a picture as the network is shown it, about its joints, where a detector would say they are."""
    joints, sure = sample["joints_2d"], np.ones(21)
    square = predictor.square(box_around(joints), joints, sure)
    look = look_at(sample["image"].transpose(1, 2, 0), square, predictor.size, is_right=bool(sample["is_right"]))
    return View([look], SeenKeypoints(joints[None], sure[None]), sample["K"][None])


pairs = StereoDataset(job.out)
pair = pairs[len(pairs) - 1]  # held out
found = predictor.pair(see(pair["right"]), see(pair["left"]), pair["right_from_left"])
hand = fit_meshes(found.vertices, "open", bool(found.is_right[0]), sigma=found.sigma)
off_mm = 1000 * np.linalg.norm(found.vertices[0].numpy() - pair["right"]["vertices"], axis=-1).mean()
x, y, z = hand.joints[0, 0].numpy()
print(f"a held-out hand: off by {off_mm:.0f} mm; the hand fitted to it has its wrist at ({x:.2f}, {y:.2f}, {z:.2f}) m")
