"""The one training loop.

A method says which parameters learn, what a batch costs and what is measured; the loop owns the processes, the device,
the precision, accumulation, clipping, the schedule, the average of weights, logging, validation, checkpoints, and going
on where a run was stopped. A run's folder holds `recipe.json`, the log (see `TrainLog`), `<method>.safetensors` (best
validation so far) and `resume.pt`; the first process alone writes there.
"""

from handkit.train.loop import TrainResult, train
from handkit.train.method import Batch, Method
from handkit.train.optimizer import learning_rate
from handkit.train.place import Place, is_first_process
from handkit.train.recipe import TrainRecipe
from handkit.train.state import seed_all

__all__ = [
    "Batch",
    "Method",
    "Place",
    "TrainRecipe",
    "TrainResult",
    "is_first_process",
    "learning_rate",
    "seed_all",
    "train",
]
