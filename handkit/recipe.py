"""Recipes: the settings of a run, read strictly from TOML.

A recipe is a pydantic model (subclass `Recipe`) whose values come from `handkit/recipes/<name>.toml` or a file of the
user's, then from changes `a.b=value`. A value that may be None is switched off by "off"; TOML has no null. The resolved
recipe of a run is kept as JSON and can be given back as a file.
"""

import difflib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from handkit.errors import HandkitError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_FOLDER = Path(__file__).with_name("recipes")


class Recipe(BaseModel):
    """The base of every recipe and of every table in one: no key beyond those named, no value of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Schema = TypeVar("Schema", bound=BaseModel)


def load_recipe(schema: type[Schema], name_or_path: str | Path, changes: Sequence[str] = ()) -> Schema:
    """The recipe of that name in the package, or in a .toml or .json file, with `changes` ("a.b=value") made to it.

    A change's value is TOML; what is not TOML is taken as text. Raises HandkitError for a recipe that does not exist or
    cannot be read, an unknown key (with what may be meant), and a value that is not allowed.
    """
    values = _read(_find(str(name_or_path)))
    changed = set()
    for change in changes:
        path, value = _parse_change(change)
        _set(values, path, value, change)
        changed.add(path)
    return build_recipe(schema, values, source=f"recipe {name_or_path}", changed=changed)


def build_recipe(
    schema: type[Schema], values: dict[str, Any], *, source: str, changed: set[tuple[str, ...]] | None = None
) -> Schema:
    """The checked recipe of plain values; `source` is named in errors, and `--set` for the keys in `changed`."""
    text = json.dumps(_off_to_none(schema, values), default=str)
    try:
        return schema.model_validate_json(text, strict=True)  # as JSON, so that lists may become tuples
    except ValidationError as error:
        told = [_tell(schema, detail, source, changed or set()) for detail in error.errors(include_url=False)]
    raise HandkitError("; ".join(what for what, _ in told), "; ".join(dict.fromkeys(fix for _, fix in told)))


def recipe_toml(recipe: Recipe) -> str:
    """A whole recipe as TOML that `load_recipe` reads back as the same; what is None is "off"."""
    return "\n".join(_toml_lines(recipe.model_dump(mode="json"))) + "\n"


def recipe_names() -> list[str]:
    """The names of the recipes in the package."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def _find(name_or_path: str) -> Path:
    path = Path(name_or_path).expanduser()
    if path.suffix in (".toml", ".json"):
        if not path.is_file():
            raise HandkitError(f"the recipe {name_or_path} is no file", "check the path")
        return path
    if name_or_path not in recipe_names():
        guess = _guess(name_or_path, recipe_names())
        raise HandkitError(
            f"no recipe is called {name_or_path!r}{guess}", f"use {', '.join(recipe_names())} or a .toml file"
        )
    return _FOLDER / f"{name_or_path}.toml"


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise HandkitError(f"{path} cannot be read: {error.strerror}", "check the path and its permissions") from error
    except ValueError as error:  # tomllib's, json's and unicode's errors all are
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise HandkitError(f"{path} is no {kind}: {error}", "correct that line") from error
    if not isinstance(values, dict):
        raise HandkitError(f"{path} holds no table of settings", "give a recipe")
    return values


def _toml_lines(table: dict[str, Any], path: str = "") -> Iterator[str]:
    """A table's values, then the tables in it."""
    values = {key: value for key, value in table.items() if not isinstance(value, dict)}
    if path and (values or not table):
        yield from ("", f"[{path}]")
    for key, value in values.items():
        yield f"{key} = {json.dumps('off' if value is None else value, ensure_ascii=False)}"
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _toml_lines(value, f"{path}.{key}" if path else key)


def _parse_change(change: str) -> tuple[tuple[str, ...], Any]:
    key, equals, text = change.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or not all(path):
        raise HandkitError(f"--set {change!r} is not KEY=VALUE", "give changes such as train.steps=1000")
    try:
        return path, tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        return path, text.strip()


def _set(values: dict[str, Any], path: tuple[str, ...], value: object, change: str) -> None:
    for part in path[:-1]:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            raise HandkitError(f"--set {change!r}: {part} is a value, no table", f"set {part} itself")
    values[path[-1]] = value


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    """The models that an annotation admits, itself or within a union, list or table."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _admits_none(annotation: object) -> bool:
    return get_origin(annotation) in (Union, UnionType) and NoneType in get_args(annotation)


def _off_to_none(schema: type[BaseModel], values: dict[str, Any]) -> dict[str, Any]:
    resolved = {}
    for key, value in values.items():
        annotation = schema.model_fields[key].annotation if key in schema.model_fields else None
        inner = next(_models(annotation), None)
        if value == "off" and _admits_none(annotation):
            value = None
        elif isinstance(value, dict) and inner is not None:
            value = _off_to_none(inner, value)
        resolved[key] = value
    return resolved


def _tell(schema: type[BaseModel], detail: ErrorDetails, source: str, changed: set[tuple[str, ...]]) -> tuple[str, str]:
    """What is wrong, and what to do, of one of pydantic's errors."""
    path = tuple(str(part) for part in detail["loc"])
    key = ".".join(path)
    where = f"--set {key}" if path in changed else f"{source}: {key}" if key else source
    if detail["type"] == "extra_forbidden":
        known = _keys_at(schema, path[:-1])
        prefix = "".join(f"{part}." for part in path[:-1])
        return (
            f"{where} is no setting{_guess(path[-1], known, prefix)}",
            f"choose among {', '.join(prefix + name for name in known)}",
        )
    if detail["type"] == "missing":
        return f"{where} is missing", f"give {key} a value"
    said = detail["msg"].removeprefix("Value error, ")
    wanted = said.replace("Input should be", "must be").replace("Input should", "must", 1)
    value = json.dumps(detail["input"], default=str)
    return f"{where} is {value if len(value) < 100 else value[:97] + '...'}", f"{key or 'the recipe'}: {wanted}"


def _keys_at(schema: type[BaseModel], path: tuple[str, ...]) -> list[str]:
    """The keys of the table that `path` leads to; list positions and union members on the way are passed over."""
    models = [schema]
    for part in path:
        fields = [model.model_fields[part] for model in models if part in model.model_fields]
        models = [inner for field in fields for inner in _models(field.annotation)] or models
    return list(dict.fromkeys(name for model in models for name in model.model_fields))


def _guess(name: str, known: Sequence[str], prefix: str = "") -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" (did you mean {prefix}{close[0]}?)" if close else ""
