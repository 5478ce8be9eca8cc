"""The register map as data for people: `markdown()` is docs/registers.md.

Write it anew with `python -m inspector.line.register_table > docs/registers.md`.
"""

from dataclasses import dataclass

from inspector.line import registers as r


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the map: `count` registers from `address`, written by `writer`."""

    address: int
    count: int
    name: str
    writer: str
    unit: str
    meaning: str


def _fields(base: int, writer: str, fields: list[tuple[str, int, str, str]]) -> list[Row]:
    rows = []
    for name, count, unit, meaning in fields:
        rows.append(Row(base, count, name, writer, unit, meaning))
        base += count
    return rows


CONTROL_ROWS = _fields(
    r.CONTROL,
    "station",
    [
        ("READY", 1, "flag", "1: the station inspects. Any other value is low. The PLC treats it as low when the heartbeat stands still"),
        ("FAULT", 1, "flag", "1: the station cannot vouch for parts; READY is then low"),
        ("heartbeat", 1, "count", "changes every 100 ms while the line's threads work; unchanged for 300 ms, READY counts as low"),
        ("run", 1, "low 16 bits", "the run under which results will come; the PLC tracks each part with the run at its trigger"),
    ],
)

SLOT_ROWS = _fields(
    r.SLOTS,
    "station",
    [
        ("run, first", 1, "low 16 bits", "run of the part"),
        ("sequence, first", 2, "count", "trigger counter's value of the part"),
        ("verdict", 1, "pattern", f"{r.PASS_PATTERN:#06x} PASS, {r.REJECT_PATTERN:#06x} REJECT, anything else is nothing"),
        ("fault code", 1, "code", "why a REJECT is a fault, see below; 0 otherwise. A PASS with a code is nothing"),
        ("run, last", 1, "low 16 bits", "again: differs from the first when the slot is torn"),
        ("sequence, last", 2, "count", "again"),
    ],
)

STATUS_ROWS = _fields(
    r.STATUS,
    "PLC",
    [
        ("map", 1, "constant", f"{r.MAP_ID:#06x}; the station never writes to a device that shows another value"),
        ("slots", 1, "count", f"K, result slots in use, 1 to {r.SLOTS_MAX}"),
        ("epoch", 2, "number", "another value after every restart of the PLC"),
        ("counter", 2, "count", "triggers since the start of the epoch; never set back in it, wraps at 32 bit"),
        (
            "clock",
            2,
            "µs",
            "PLC time at the answer, wraps at 32 bit. A PLC that latches it once a scan makes triggers look up to a scan late",
        ),
        ("scans", 1, "count", "scan counter, wraps"),
        ("heartbeat ok", 1, "flag", "1: the heartbeat changed within 300 ms"),
        ("READY seen", 1, "flag", "1: READY as the PLC treats it"),
        ("belt", 1, "code", f"{r.BELT_STOPPED} stopped, {r.BELT_RUNNING} running, {r.BELT_DONE} done: all parts of the job have left"),
        ("in transit", 1, "parts", "parts between camera and gate"),
        ("dispositions", 2, "count", "dispositions since the start of the epoch, wraps at 32 bit"),
        ("reserved", 5, "", "0"),
    ],
)

TRIGGER_ROWS = _fields(
    r.TRIGGER_RING,
    "PLC",
    [
        ("sequence", 2, "count", "the counter's value at the trigger; the entry stands at sequence mod 8"),
        ("time", 2, "µs", "PLC clock at the photo-eye"),
        ("ready", 1, "flag", "1: READY was high"),
    ],
)

ACK_ROWS = _fields(
    r.ACK_TABLE,
    "PLC",
    [
        ("run", 1, "low 16 bits", "run of the accepted result; the entry stands at sequence mod K"),
        ("sequence", 2, "count", "its sequence"),
        ("verdict", 1, "pattern", "the verdict as the PLC understood it; 0: empty"),
    ],
)

DISPOSITION_ROWS = _fields(
    r.DISPOSITION_RING,
    "PLC",
    [
        ("number", 1, "low 16 bits", "number of the disposition, counted from 1 in the epoch; it stands at number mod 64"),
        ("run", 1, "low 16 bits", "run under which the part was triggered"),
        ("sequence", 2, "count", "its sequence"),
        ("lane", 1, "code", ", ".join(f"{code} {lane.value}" for code, lane in r.LANES.items()) + "; 0: empty"),
        ("verdict", 1, "pattern", "the verdict that the PLC had accepted; 0: none"),
    ],
)

RULES = """\
The PLC takes a result only if

1. both copies of run and sequence agree, and name a part that it tracks, in the slot where that part belongs,
2. the part was triggered with READY high under that very run,
3. the verdict is exactly one of the two patterns, and
4. the part has not reached the gate.

The first result taken is echoed. A REJECT after a PASS wins while the part is before the gate; a PASS never replaces a REJECT.
At the gate, an accepted PASS opens it; **everything else is rejected**. One request is answered from one scan.
"""


def _table(rows: list[Row]) -> str:
    head = "| address | registers | name | unit | meaning |\n|---|---|---|---|---|\n"
    return head + "".join(f"| {row.address} | {row.count} | {row.name} | {row.unit} | {row.meaning} |\n" for row in rows)


def markdown() -> str:
    """The whole page."""
    codes = "| code | fault |\n|---|---|\n" + "".join(f"| {code} | {fault.value} |\n" for fault, code in r.FAULT_CODES.items())
    parts = [
        "# Register map between station and PLC\n\n",
        "Made from `inspector/line/registers.py`; change it there, then run\n"
        "`python -m inspector.line.register_table > docs/registers.md`.\n\n",
        "Modbus TCP, holding registers (read 3; write 6 or 16), addresses from 0 as they travel, 32-bit values high word first.\n\n",
        f"## Control: station → PLC\n\n{_table(CONTROL_ROWS)}\n",
        f"## Results: station → PLC\n\nK slots of {r.SLOT_SIZE} registers; part in slot *sequence mod K*, written in one request. "
        f"The first slot:\n\n{_table(SLOT_ROWS)}\n{RULES}\n",
        f"## Status: PLC → station\n\n{r.STATUS_SIZE} registers from {r.STATUS}, read in one request.\n\n{_table(STATUS_ROWS)}\n",
        f"### Last {r.TRIGGERS} triggers\n\n{r.TRIGGERS} entries of {r.TRIGGER_SIZE} registers. The first:\n\n{_table(TRIGGER_ROWS)}\n",
        f"### Echoes\n\nK entries of {r.ACK_SIZE} registers. The first:\n\n{_table(ACK_ROWS)}\n",
        f"## Last {r.DISPOSITIONS} dispositions: PLC → station\n\n{r.DISPOSITIONS} entries of {r.DISPOSITION_SIZE} registers. "
        f"The first:\n\n{_table(DISPOSITION_ROWS)}\n",
        f"## Fault codes\n\n{codes}",
    ]
    return "".join(parts)


if __name__ == "__main__":
    print(markdown(), end="")
