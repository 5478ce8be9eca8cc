"""What station and screen say to each other: frozen dataclasses as JSON, validated strictly, never pickle.

    screen → station    Next         the newest status, once it is another one than `after_seq`, and a preview if wanted
                        Command      start, stop, pause, acknowledge, activate, shutdown
    station → screen    Shown        status, and what its preview (a second message part, JPEG) shows
                        Done         the command was carried out
                        Refused      it was not, and why
                        Failed       the request was not understood, or the station could not answer it

Each names its `protocol`; station and screen of another protocol refuse each other by name. `request` is echoed, so that an answer which
comes after its asker gave up is never taken for the answer to the next question.
"""

import json
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from inspector.errors import LinkError
from inspector.types import Status

PROTOCOL = 1
LARGEST_REQUEST_BYTES = 64 * 1024
LONGEST_WAIT_MS = 10_000

# pydantic hands this on to the dataclasses inside (Status and its parts), which therefore need no pydantic of their own.
_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

T = TypeVar("T")

Text = Annotated[str, Field(max_length=4096)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
Count = Annotated[int, Field(ge=0, lt=2**63)]


@dataclass(frozen=True, slots=True)
class Next:
    """Ask for the newest status: at once if its seq is not `after_seq`, else within `wait_ms`; with a preview if there is a new one."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    after_seq: Annotated[int, Field(ge=-1, lt=2**63)]
    preview: bool
    wait_ms: Annotated[int, Field(ge=0, le=LONGEST_WAIT_MS)]
    request: Count
    protocol: int = PROTOCOL
    kind: Literal["next"] = "next"


@dataclass(frozen=True, slots=True)
class Command:
    """Ask for a change. After `expires_ns` (station time) the asker no longer waits, and the station must not carry it out any more."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    name: Name
    arguments: Annotated[dict[Name, Text], Field(max_length=32)]
    who: Annotated[str, Field(min_length=1, max_length=128)]
    expires_ns: Count
    request: Count
    protocol: int = PROTOCOL
    kind: Literal["command"] = "command"


@dataclass(frozen=True, slots=True)
class Preview:
    """What the JPEG beside this message shows: its own size and the size of the frame it was made from, in px."""

    frame_id: int
    exposed_ns: int
    width: int
    height: int
    frame_width: int
    frame_height: int
    source: str


@dataclass(frozen=True, slots=True)
class Shown:
    """The newest status; `preview` is None when none was asked for, none is new, or the last one is less than 1/15 s old."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    status: Status
    preview: Preview | None
    request: Count
    protocol: int = PROTOCOL
    kind: Literal["shown"] = "shown"


@dataclass(frozen=True, slots=True)
class Done:
    """A command was carried out; one line says what was done."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    text: str
    request: Count
    protocol: int = PROTOCOL
    kind: Literal["done"] = "done"


@dataclass(frozen=True, slots=True)
class Refused:
    """A command was not carried out; one line says why, and what would make it possible."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    text: str
    request: Count
    protocol: int = PROTOCOL
    kind: Literal["refused"] = "refused"


@dataclass(frozen=True, slots=True)
class Failed:
    """The request was malformed, of another protocol, or could not be answered."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    text: str
    request: Count
    protocol: int = PROTOCOL
    kind: Literal["failed"] = "failed"


Request = Next | Command
Reply = Shown | Done | Refused | Failed

_REQUEST: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="kind")])
_REPLY: TypeAdapter[Reply] = TypeAdapter(Annotated[Reply, Field(discriminator="kind")])


def encode_request(request: Request) -> bytes:
    """The request as JSON. Raises LinkError for one that the station would refuse (fields, size)."""
    data = _sized(_dump(_REQUEST, request))
    _load(_REQUEST, data)
    return data


def encode_reply(reply: Reply) -> bytes:
    """The reply as JSON. Raises LinkError for one that no screen would accept, such as a status with NaN in it."""
    data = _dump(_REPLY, reply)
    _load(_REPLY, data)
    return data


def decode_request(data: bytes) -> Request:
    """A request, checked. Raises LinkError: too large, not JSON, another protocol, a wrong or unknown field."""
    _same_protocol(_sized(data), "screen")
    return _load(_REQUEST, data)


def decode_reply(data: bytes) -> Reply:
    """A reply, checked. Raises LinkError as `decode_request`."""
    _same_protocol(data, "station")
    return _load(_REPLY, data)


def request_number(data: bytes) -> int:
    """The request number of a message that may be malformed; 0 when it has none."""
    try:
        number = _mapping(data).get("request", 0)
    except LinkError:
        return 0
    return number if type(number) is int and 0 < number < 2**63 else 0


def _dump(adapter: TypeAdapter[Any], message: Request | Reply) -> bytes:
    # Not dump_json: it writes NaN as null, and a broken figure would arrive as "not measured".
    try:
        return json.dumps(adapter.dump_python(message, mode="json"), allow_nan=False, separators=(",", ":")).encode()
    except ValueError as e:
        raise LinkError(f"{message.kind}: this message cannot be sent ({e}): its sender is at fault") from e


def _load(adapter: TypeAdapter[T], data: bytes) -> T:
    try:
        return adapter.validate_json(data)
    except ValidationError as e:
        raise LinkError(_first(e)) from e


def _sized(data: bytes) -> bytes:
    if len(data) > LARGEST_REQUEST_BYTES:
        raise LinkError(f"a request of {len(data)} bytes: at most {LARGEST_REQUEST_BYTES} are taken: say less, or name a file")
    return data


def _mapping(data: bytes) -> dict[str, Any]:
    try:
        value = from_json(data, allow_inf_nan=False)
    except ValueError as e:
        raise LinkError(f"a message that is not JSON ({e}): is the other side an Inspector?") from e
    if not isinstance(value, dict):
        raise LinkError("a message that is no JSON object: is the other side an Inspector?")
    return value


def _same_protocol(data: bytes, other: str) -> None:
    theirs = _mapping(data).get("protocol")
    if type(theirs) is not int or theirs != PROTOCOL:
        raise LinkError(f"the {other} speaks link protocol {theirs!r:.20}, this program {PROTOCOL}: run both from one version")


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where or 'message'}: {first['msg']} (got {first['input']!r:.80})"
