"""Small files that have to be whole, durable and unedited: written aside and renamed, and sealed by their own SHA-256."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inspector.bundle import Sha256, card_hash
from inspector.errors import InspectorError


class ReleaseError(InspectorError):
    """A release that cannot be stored, found or activated; the text is one line: what, where, what to do."""


class Sealed(BaseModel):
    """A JSON file whose `sha256` is that of all the rest."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)
    format: Annotated[int, Field(ge=1, le=1)]
    sha256: Sha256


S = TypeVar("S", bound=Sealed)


def seal(content: dict[str, Any]) -> bytes:
    """JSON with the SHA-256 of all of it as `sha256`."""
    plain: dict[str, Any] = json.loads(json.dumps(content, allow_nan=False))
    return (json.dumps(plain | {"sha256": card_hash(plain)}, indent=1, ensure_ascii=False) + "\n").encode()


def read_sealed(path: Path, model: type[S]) -> S:
    """A sealed file, verified. Raises ReleaseError: unreadable, not of this form, or edited."""
    raw = read_json(path)
    try:
        found = model.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ReleaseError(f"{path}: {key}: {first['msg']}; the file was edited, or is of another version") from None
    if card_hash(raw) != found.sha256:
        raise ReleaseError(f"{path}: was edited after it was made, and proves nothing; put the original back")
    return found


def write_whole(*files: tuple[Path, bytes]) -> None:
    """Durable, and each whole or not at all: all are written aside before the first takes its place. Raises ReleaseError."""
    asides = [path.with_name(f".{path.name}.{os.getpid()}") for path, _ in files]
    try:
        for (path, content), aside in zip(files, asides, strict=True):
            with told(path):
                write(aside, content)
        for (path, _), aside in zip(files, asides, strict=True):
            with told(path):
                aside.replace(path)
                sync_folder(path.parent)
    finally:
        for aside in asides:
            aside.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises ReleaseError."""
    try:
        raw = json.loads(path.read_bytes())
    except OSError as error:
        raise ReleaseError(f"{path}: cannot be read ({error.strerror}); is it a release's folder?") from None
    except (ValueError, RecursionError) as error:
        raise ReleaseError(f"{path}: is no JSON ({error}); put the original back") from None
    if not isinstance(raw, dict):
        raise ReleaseError(f"{path}: is no JSON object; put the original back")
    return raw


def write(path: Path, content: bytes) -> None:
    """Durable once it returns; folders on the way are made. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make what was created or renamed in it durable. Raises OSError."""
    if sys.platform != "win32":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """What the disk says, as one line."""
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise ReleaseError(f"{path}: cannot be written ({why}): make room, then try again") from error
