"""Runs with several seeds to a row's figures, and what the rows say together: their order, their differences."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from statistics import mean, stdev
from typing import Any, Final, NamedTuple

from handkit.tables.recipe import RowRecipe, SetRecipe, TableRecipe
from handkit.tables.training import Figures

_MORE_IS_BETTER: Final = ("auc", "f_score", "iou", "accuracy")


class Spread(NamedTuple):
    """Over seeds: their mean, and the standard deviation of one seed (None of a single one)."""

    mean: float
    sd: float | None


def spread_of(values: Sequence[float]) -> Spread:
    """Of one value or more."""
    return Spread(mean(values), stdev(values) if len(values) > 1 else None)


def spread(runs: Sequence[Figures], figure: str) -> Spread | None:
    """A figure over the runs that have it."""
    values = [run[figure] for run in runs if run.get(figure) is not None]
    return spread_of(values) if values else None


def flat_figures(measured: Mapping[str, Figures]) -> Figures:
    """Figures by set as figures by "set.measure"; those of the network by their own names."""
    return {
        key if name == "network" else f"{name}.{key}": value
        for name, figures in measured.items()
        for key, value in figures.items()
    }


def with_means(sets: Sequence[SetRecipe], figures: Figures) -> Figures:
    """Figures by "set.measure", and those of sets that are the mean of others."""
    means = {}
    for one in sets:
        for key in dict.fromkeys((*one.columns, one.orders, *one.also)) if one.mean_of else ():
            values = [figures.get(f"{part}.{key}") for part in one.mean_of]
            known = [value for value in values if value is not None]
            if len(known) == len(values):
                means[f"{one.name}.{key}"] = mean(known)
    return {**figures, **means}


def orders_of(
    table: TableRecipe, one: SetRecipe, rows: Sequence[RowRecipe], runs: Mapping[str, Sequence[Figures]]
) -> list[dict[str, Any]]:
    """The order of the rows by each measure of a set that has one."""
    return [order_by(table, one, key, rows, runs) for key in (one.orders, *one.also)]


def order_by(
    table: TableRecipe, one: SetRecipe, key: str, rows: Sequence[RowRecipe], runs: Mapping[str, Sequence[Figures]]
) -> dict[str, Any]:
    """Rows by a measure, the best first, and how far this is the published order.

    `pairs` counts pairs of rows with both figures whose published ones differ, `as_published` those that stand the same
    way round.
    """
    sign = -1 if any(word in key for word in _MORE_IS_BETTER) else 1
    found = {
        row.name: sign * value.mean
        for row in rows
        if (value := spread(runs.get(row.name, []), f"{one.name}.{key}")) is not None
    }
    published: list[str] = []
    pairs = agreed = 0
    for name in one.printed_as:
        printed = {
            row.name: sign * mean(table.published(row)[f"{name}.{key}"])
            for row in rows
            if row.name in found and f"{name}.{key}" in row.published
        }
        different = [(a, b) for a, b in combinations(printed, 2) if printed[a] != printed[b]]
        pairs += len(different)
        agreed += sum((printed[a] - printed[b]) * (found[a] - found[b]) > 0 for a, b in different)
        published = published or sorted(printed, key=printed.__getitem__)
    return {
        "set": one.name,
        "by": key,
        "more_is_better": sign < 0,
        "order": sorted(found, key=found.__getitem__),
        "published_order": published,
        "pairs": pairs,
        "as_published": agreed,
    }


def compare_rows(table: TableRecipe, sets: Sequence[SetRecipe], runs: Mapping[str, Mapping[int, Figures]]) -> list[Any]:
    """For every claim of the table and every set: both errors, and in how many of the seeds the first is smaller."""
    return [
        found
        for pair in table.compare
        for one in sets
        if (found := _compare(pair.first, pair.second, f"{one.name}.{one.orders}", runs)) is not None
    ]


def _compare(first: str, second: str, figure: str, runs: Mapping[str, Mapping[int, Figures]]) -> dict[str, Any] | None:
    seeds = [
        seed
        for seed in runs.get(first, {})
        if seed in runs.get(second, {}) and all(figure in runs[name][seed] for name in (first, second))
    ]
    if not seeds:
        return None
    ours, theirs = ([runs[name][seed][figure] for seed in seeds] for name in (first, second))
    return {
        "first": first,
        "second": second,
        "figure": figure,
        "values": [mean(ours), mean(theirs)],
        "seeds": len(seeds),
        "smaller_in": sum(a < b for a, b in zip(ours, theirs, strict=True)),
    }


def sentences(orders: Sequence[Mapping[str, Any]], comparisons: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Both in words."""
    for order in orders:
        if len(order["order"]) > 1:
            agrees = f"; {order['as_published']} of {order['pairs']} pairs stand as published" if order["pairs"] else ""
            sign = " > " if order["more_is_better"] else " < "
            yield f"{order['set']}, by {order['by']}: {sign.join(order['order'])}{agrees}"
    for one in comparisons:
        ours, theirs = one["values"]
        seeds = f"{one['smaller_in']} of {one['seeds']} seed{'s' if one['seeds'] > 1 else ''}"
        yield f"{one['figure']}: {one['first']} {ours:.2f}, {one['second']} {theirs:.2f}; the first smaller in {seeds}"
