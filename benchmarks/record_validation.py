"""Record the hash of the default validation set's annotations, after a change that is meant to change them.

    python benchmarks/record_validation.py

Writes handkit/synth/validation.json. No picture is painted: it takes some seconds.
"""

from pathlib import Path

import orjson
from tqdm import tqdm

from handkit.recipe import load_recipe
from handkit.synth import validation
from handkit.synth.digest import combined_digest
from handkit.synth.job import SequenceJob
from handkit.synth.recipe import SequenceRecipe

FIRST = 8


def main() -> None:
    recipe = load_recipe(SequenceRecipe, "seqhand")
    job = SequenceJob(out=Path("unused"), recipe=recipe, split="val", sequences=validation.SEQUENCES)
    maker = job.make()
    drawn = maker.annotate_many(range(job.sequences))
    digests = [job.digest(sequence) for sequence in tqdm(drawn, total=job.sequences)]
    record = {"annotations": combined_digest(digests), "first": digests[:FIRST], "sources": maker.sources()}
    path = Path(validation.__file__).with_name("validation.json")
    path.write_bytes(orjson.dumps(record, option=orjson.OPT_INDENT_2) + b"\n")
    print(f"wrote {path}: {record['annotations']}")


if __name__ == "__main__":
    main()
