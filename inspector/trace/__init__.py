"""The archive: every part, every later fact about it, chained and durable. The only package that speaks SQLite."""

from inspector.trace.archive import SqliteArchive
from inspector.trace.chain import Head
from inspector.trace.evidence import EvidencePolicy
from inspector.trace.query import EventRow, PartRecord, PartRow, Reader, RunRow, open_reader
from inspector.trace.verify import VerifyReport, verify

__all__ = [
    "EventRow",
    "EvidencePolicy",
    "Head",
    "PartRecord",
    "PartRow",
    "Reader",
    "RunRow",
    "SqliteArchive",
    "VerifyReport",
    "open_reader",
    "verify",
]
