"""Tables of HandNet's: those whose rows are networks, and those whose rows are measured of a single one."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from handkit.data.annotations import check_choice
from handkit.errors import HandkitError
from handkit.files import check_writable
from handkit.tables.handnet import HandNetTraining
from handkit.tables.handnet_measuring import measure_rows
from handkit.tables.handnet_recipe import STARTS
from handkit.tables.run import TableOptions, TableResult, check_options, open_sets, run_table
from handkit.tables.training import Say


def run_handnet_table(
    out: Path,
    training: HandNetTraining,
    options: TableOptions,
    *,
    say: Say = lambda _: None,
    on_error: Callable[[HandkitError], None] = lambda _: None,
    on_row: Callable[[TableResult], None] = lambda _: None,
) -> TableResult:
    """Train and measure a table, as `run_table` does; `options.weights` are of networks by their names.

    Where all rows are of one network, `options.rows` must be None. Raises HandkitError for what concerns all rows.
    """
    table = training.table
    if table.network is None:
        return run_table(out, training, options, say=say, on_error=on_error, on_row=on_row)
    learning = _to_learn(training, options)
    check_options(training, options)
    training.check_networks(learning)
    check_writable(out)
    result = TableResult(table, out, list(table.rows), shared=table.network)
    try:
        training.prepare_networks(out, learning, options.how, say)
        result.sets = open_sets(out, training, options, say)
        for seed in range(table.seeds if options.seeds is None else options.seeds):
            try:
                if not _run_seed(result, training, learning, seed=seed, options=options, say=say):
                    result.interrupted = True
                    return result
            except HandkitError as error:
                result.failed[f"seed {seed}"] = error
                on_error(HandkitError(f"seed {seed}: {error.what}", error.fix))
                continue
            on_row(result)
    except KeyboardInterrupt:
        result.interrupted = True
    return result


def _to_learn(training: HandNetTraining, options: TableOptions) -> list[str]:
    """The table's network and the one that it begins with, as far as no weights of them are given."""
    table = training.table
    assert table.network is not None
    if options.rows is not None:
        raise HandkitError(f"the rows of {table.title} are measured together", "leave --rows out")
    start = STARTS.get(table.network)
    chain = [name for name in (start, table.network) if name is not None]
    for name in options.weights:
        check_choice("network of this table", name, chain)
    given = [place for place, name in enumerate(chain) if name in options.weights]
    return chain[given[-1] + 1 :] if given else chain


def _run_seed(
    result: TableResult,
    training: HandNetTraining,
    learning: Sequence[str],
    *,
    seed: int,
    options: TableOptions,
    say: Say,
) -> bool:
    """Train the network with one seed and measure all rows; False where training was interrupted."""
    name = training.table.network
    assert name is not None
    weights = _given(options, name, seed) or _given(options, STARTS.get(name), seed)
    for network in learning:
        say(f"{network}, seed {seed}: training")
        folder = result.out / network / f"seed{seed}"
        try:
            run = training.train_network(network, folder, seed=seed, init=weights, how=options.how)
        except (MemoryError, torch.OutOfMemoryError) as error:
            raise HandkitError(f"out of memory ({str(error).splitlines()[0]})", training.too_big) from error
        if run.interrupted:
            return False
        weights = run.weights
    assert weights is not None
    say(f"{name}, seed {seed}: measuring")
    folder = result.out / name / f"seed{seed}"
    for row, figures in measure_rows(weights, result.sets, folder, training, training.table, options.how).items():
        result.runs.setdefault(row, {})[seed] = figures
    return True


def _given(options: TableOptions, name: str | None, seed: int) -> Path | None:
    """The file that stands for a network, if one does. Raises HandkitError where there is none at its path."""
    if name is None or name not in options.weights:
        return None
    path = Path(options.weights[name].replace("{seed}", str(seed)))
    if not path.is_file():
        raise HandkitError(f"{path} is no file", "check the path")
    return path
