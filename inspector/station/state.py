"""The states of the line, and which may follow which.

    stopped ──start──▶ starting ──all proven──▶ running ──stop──▶ stopped
                          │  ▲                    │ │ └──pause──▶ paused ──start──▶ starting
                          │  └──resynchronise─────┘ └──stop cause──▶ held ──acknowledge──▶ starting
                          └──a supplier fails──▶ fault ──all there again──▶ starting        (running and paused fall to fault, too)
    every state ──shutdown──▶ stopping

READY is high in running only. In held a person has to acknowledge; what failed meanwhile shows in starting. In fault the station cannot
vouch for parts, and comes back by itself once every supplier (camera, detector, PLC, archive) is there again and the canary was found;
after a pause it waits for start.
"""

from inspector.types import StationState

_S = StationState
_FOLLOW: dict[StationState, frozenset[StationState]] = {
    _S.STOPPED: frozenset({_S.STARTING, _S.HELD, _S.STOPPING}),
    _S.STARTING: frozenset({_S.RUNNING, _S.STOPPED, _S.PAUSED, _S.HELD, _S.FAULT, _S.STOPPING}),
    _S.RUNNING: frozenset({_S.STARTING, _S.STOPPED, _S.PAUSED, _S.HELD, _S.FAULT, _S.STOPPING}),
    _S.PAUSED: frozenset({_S.STARTING, _S.STOPPED, _S.HELD, _S.FAULT, _S.STOPPING}),
    _S.HELD: frozenset({_S.STARTING, _S.STOPPED, _S.STOPPING}),
    _S.FAULT: frozenset({_S.STARTING, _S.STOPPED, _S.HELD, _S.STOPPING}),
    _S.STOPPING: frozenset(),
}


def may_follow(now: StationState, then: StationState) -> bool:
    """True when `then` may come right after `now`."""
    return then in _FOLLOW[now]
