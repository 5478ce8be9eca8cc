"""A pydantic model as text for people: what is wrong with a file, in one line, and the table of its keys. Pure."""

import difflib
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

TAG = "driver"
"""The key that says which of several forms a section has."""


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first fault: its dotted key, its value, what would be right; then the keys of the others.

    A misspelt key comes first: it is why another one is missing.
    """
    faults = sorted(error.errors(include_url=False), key=lambda fault: fault["type"] != "extra_forbidden")
    others = [_key(fault, model) for fault in faults[1:]]
    more = f"; {len(others)} more: {', '.join(others)}" if others else ""
    return _one(faults[0], model) + more


def _one(fault: ErrorDetails, model: type[BaseModel]) -> str:
    key, section = _key(fault, model), _section(fault, model)
    name = str(fault["loc"][-1]) if fault["loc"] else ""
    context = fault.get("ctx", {})
    match fault["type"]:
        case "missing":
            return f"{key}: is missing; it says: {_description(section, name)}"
        case "extra_forbidden":
            return f"{key} = {_short(fault['input'])}: there is no such key; {_suggest(name, section, model)}"
        case "union_tag_not_found":
            return f"{key}.{TAG}: is missing; it is one of {', '.join(_forms(section, name))}"
        case "union_tag_invalid":
            return f"{key}.{TAG} = {context.get('tag')!r}: should be one of {context.get('expected_tags')}"
        case "model_type" | "model_attributes_type":
            return f"{key} = {_short(fault['input'])}: should be a section, written [{key}]"
        case "value_error":
            text = str(context.get("error", fault["msg"]))
            return f"{key}: {text}" if isinstance(fault["input"], dict) else f"{key} = {_short(fault['input'])}: {text}"
    meaning = _description(section, name)
    wanted = fault["msg"].replace("Input should", "should").replace("String should", "should")
    return f"{key} = {_short(fault['input'])}: {wanted}" + (f" ({meaning})" if meaning else "")


def _steps(fault: ErrorDetails, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel] | None]]:
    """Along a fault's place: each key, and the section that it stands in. Tags of forms are no keys, and left out."""
    section: type[BaseModel] | None = model
    forms: dict[str, type[BaseModel]] = {}
    for part in map(str, fault["loc"]):
        if part in forms:
            section, forms = forms[part], {}
            continue
        yield part, section
        field = section.model_fields.get(part) if section else None
        models = _models(field.annotation) if field else []
        forms = {_tag(m): m for m in models} if len(models) > 1 else {}
        section = models[0] if len(models) == 1 else None


def _key(fault: ErrorDetails, model: type[BaseModel]) -> str:
    return ".".join(part for part, _ in _steps(fault, model))


def _section(fault: ErrorDetails, model: type[BaseModel]) -> type[BaseModel] | None:
    return [section for _, section in _steps(fault, model)][-1] if fault["loc"] else model


def _description(section: type[BaseModel] | None, name: str) -> str:
    field = section.model_fields.get(name) if section else None
    if field is None:
        return ""
    if field.description:
        return field.description
    models = _models(field.annotation)
    return _doc(models[0]) if len(models) == 1 else f"{TAG} = {' or '.join(_forms(section, name))}"


def _suggest(name: str, section: type[BaseModel] | None, model: type[BaseModel]) -> str:
    known = list(section.model_fields) if section else []
    if near := difflib.get_close_matches(name, known, 1, 0.6):
        return f"did you mean {near[0]}?"
    for place, field in model.model_fields.items():
        if section is not model and any(name in m.model_fields for m in _models(field.annotation)):
            return f"it belongs into [{place}]"
    return f"known are {', '.join(known)}"


def _forms(section: type[BaseModel] | None, name: str) -> list[str]:
    field = section.model_fields.get(name) if section else None
    return [repr(_tag(m)) for m in _models(field.annotation)] if field else []


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for part in get_args(annotation) for m in _models(part)]


def _tag(model: type[BaseModel]) -> str:
    return str(get_args(model.model_fields[TAG].annotation)[0])


def _doc(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().split("\n")[0]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def documentation(model: type[BaseModel]) -> str:
    """The keys of all sections as Markdown: kind of value, default, meaning."""
    lines = [
        "# station.toml",
        "",
        "Made from `inspector/config.py`; change it there, then run `python -m inspector.config > docs/configuration.md`.",
        "",
        "Units stand in the names: `_ms` milliseconds, `_s` seconds, `_mm` millimetres, `_hz` per second. Relative paths start at the",
        "folder of the file. A key that is not listed here is refused. `inspector check STATION.toml` looks at everything, and starts",
        "nothing; [station.example.toml](station.example.toml) is a whole file.",
    ]
    for name, field in model.model_fields.items():
        models = _models(field.annotation)
        for section in models:
            form = f", {TAG} = {_tag(section)!r}".replace("'", '"') if len(models) > 1 else ""
            lines += ["", f"## [{name}]{form}", "", _doc(section), "", "| key | value | default | meaning |", "|---|---|---|---|"]
            lines += _rows(section)
    return "\n".join(lines) + "\n"


def _rows(section: type[BaseModel]) -> Iterator[str]:
    properties = section.model_json_schema()["properties"]
    for name, field in section.model_fields.items():
        default = "needed" if field.is_required() else "" if field.default is None else f"`{_toml(field.default)}`"
        yield f"| `{name}` | {_value(properties[name])} | {default} | {field.description} |"


def _toml(value: bool | str | float) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else f"{value:g}"


def _value(schema: dict[str, Any]) -> str:
    """What JSON schema says of one key, in words."""
    for form in schema.get("anyOf", ()):
        if form.get("type") != "null":
            return _value(form)
    if "const" in schema or "enum" in schema:
        return " or ".join(f'`"{value}"`' for value in schema.get("enum", [schema.get("const")]))
    if schema.get("format") == "path":
        return "path"
    if "pattern" in schema:
        return "`ipc://…` or `tcp://…`"
    kind = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true` or `false`", "array": "two whole numbers"}
    words = [kind[schema["type"]]]
    limits = {"exclusiveMinimum": ">", "minimum": "≥", "maximum": "≤"}
    words += [f"{sign} {schema[key]:g}" for key, sign in limits.items() if key in schema]
    return " ".join(words)
