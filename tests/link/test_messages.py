"""Messages: what is said arrives as it was, and nothing else is understood."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.errors import LinkError
from inspector.link.messages import (
    Command,
    Done,
    Failed,
    Next,
    Preview,
    Refused,
    Reply,
    Request,
    Shown,
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
    request_number,
)
from inspector.types import LastPart, Latency, Status, VerdictKind

FEW = settings(max_examples=40)  # building a status takes a hundred times longer than reading it
COUNTS = st.integers(0, 2**63 - 1)
NAMES = st.from_regex(r"\A[a-z][a-z0-9_-]{0,20}\Z")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
NEXTS = st.builds(Next, st.integers(-1, 2**63 - 1), st.booleans(), st.integers(0, 10_000), COUNTS, st.just(1), st.just("next"))
WHO = TEXTS.filter(bool)
COMMANDS = st.builds(Command, NAMES, st.dictionaries(NAMES, TEXTS, max_size=8), WHO, COUNTS, COUNTS, st.just(1), st.just("command"))
PREVIEWS = st.builds(Preview, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, TEXTS)

FIGURES = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False))
LATENCIES = st.builds(Latency, FIGURES, FIGURES, FIGURES)
LAST = st.one_of(st.none(), st.builds(LastPart, TEXTS, st.sampled_from(VerdictKind), st.lists(TEXTS, max_size=2).map(tuple), FIGURES))
STATUSES = st.builds(Status, last=LAST, latency_ms=LATENCIES, infer_ms=LATENCIES)

COMMAND = Command("start", {"lot": "7"}, "mia", 10, 2)
KINDS = {Done: "done", Refused: "refused", Failed: "failed"}
LINES: list[st.SearchStrategy[Reply]] = [st.builds(kind, TEXTS, COUNTS, st.just(1), st.just(name)) for kind, name in KINDS.items()]


@FEW
@given(st.one_of(NEXTS, COMMANDS))
def test_requests_arrive_as_they_were(request: Request) -> None:
    assert decode_request(encode_request(request)) == request


@FEW
@given(st.one_of(*LINES, st.builds(Shown, STATUSES, st.one_of(st.none(), PREVIEWS), COUNTS, st.just(1), st.just("shown"))))
def test_replies_arrive_as_they_were(reply: Reply) -> None:
    assert decode_reply(encode_reply(reply)) == reply


@FEW
@given(
    st.one_of(
        st.binary(max_size=200), st.text(max_size=100).map(str.encode), st.recursive(st.none(), st.lists).map(json.dumps).map(str.encode)
    )
)
def test_nonsense_is_refused_by_name_and_never_breaks_the_reader(data: bytes) -> None:
    with pytest.raises(LinkError):
        decode_request(data)
    with pytest.raises(LinkError):
        decode_reply(data)
    assert request_number(data) == 0


@FEW
@given(
    st.sampled_from(["name", "arguments", "who", "expires_ns", "request"]),
    st.sampled_from([None, -1, 1.5, "", [], {"": "x"}, {"a": 1}, True]),
)
def test_each_wrong_value_names_its_field(key: str, value: object) -> None:
    message = {**json.loads(encode_request(COMMAND)), key: value}
    with pytest.raises(LinkError, match=f"command.{key}"):
        decode_request(json.dumps(message).encode())


def test_unknown_fields_are_refused() -> None:
    message = {**json.loads(encode_request(COMMAND)), "force": True}
    with pytest.raises(LinkError, match=r"command\.force"):
        decode_request(json.dumps(message).encode())


@pytest.mark.parametrize("protocol", [None, 0, 2, "1", True, 1.0])
def test_other_protocols_are_named(protocol: object) -> None:
    message = json.dumps({**json.loads(encode_request(COMMAND)), "protocol": protocol}).encode()
    with pytest.raises(LinkError, match="run both from one version"):
        decode_request(message)


def test_a_wait_beyond_ten_seconds_is_refused() -> None:
    with pytest.raises(LinkError, match=r"wait_ms"):
        encode_request(Next(0, False, 10_001, 1))


def test_requests_beyond_the_limit_are_refused_on_both_sides() -> None:
    large = replace(COMMAND, arguments={f"key{number}": "ü" * 4000 for number in range(9)})
    with pytest.raises(LinkError, match="at most 65536 are taken"):
        encode_request(large)
    with pytest.raises(LinkError, match="at most 65536 are taken"):
        decode_request(b" " * 65_537)


def test_request_number_of_a_message_that_is_otherwise_wrong() -> None:
    assert request_number(b'{"protocol":7,"request":12}') == 12
    assert request_number(b'{"request":true}') == 0
    assert request_number(b'{"request":' + b"9" * 5000 + b"}") == 0
