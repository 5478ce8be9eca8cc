"""`inspector bench`: figures of this machine, or, with a station.toml, of a station's own inference and PLC."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from inspector.bench import line, start, station, throughput, verdict
from inspector.build import DetectorChoice
from inspector.config import StationConfig, data_folder


@click.command(short_help="measure inference and PLC on this machine")
@click.argument("station_toml", metavar="[STATION.toml]", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--parts", type=click.IntRange(50, 100_000), default=300, show_default=True, help="parts per figure")
@click.option("--count", type=click.IntRange(100, 1_000_000), default=1000, show_default=True, help="repetitions, with STATION.toml")
@click.option("--precision", help="one of the bundle's precisions; else its default (without STATION.toml)")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="data folder")
@click.option("--json", "as_json", is_flag=True, help="one JSON object as the last line")
def bench(station_toml: Path | None, parts: int, count: int, precision: str | None, data: Path | None, as_json: bool) -> None:
    """Measure this machine against the bare parts (OpenVINO, Modbus, SQLite), in turns.

    With STATION.toml: measure that station's inference and PLC (the station itself has to be stopped; READY stays low) and store both for
    the time budget of `inspector check`.
    """
    figures = _machine(parts, precision, data) if station_toml is None else _station(station_toml, count, data)
    if as_json:
        click.echo(json.dumps(figures))


def _station(station_toml: Path, count: int, data: Path | None) -> dict[str, Any]:
    config = StationConfig.load(station_toml)
    folder = data_folder(data, config.station.data)
    figures = station.measure(config, folder, count)
    click.echo(f"frame → verdict        {figures.infer}")
    click.echo(f"verdict → acknowledged {figures.plc}, with a durable row")
    click.echo(f"stored in {folder} for `inspector check {station_toml}`")
    return asdict(figures)


def _machine(parts: int, precision: str | None, data: Path | None) -> dict[str, Any]:
    cache = data_folder(data) / "cache"
    choice = DetectorChoice(precision=precision, cache=cache)
    figures: dict[str, Any] = {}

    def run(name: str, measure: Callable[[Path], Any]) -> Any:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            result = measure(Path(folder))
        figures[name] = asdict(result)
        return result

    v = run("verdict", lambda folder: verdict.measure(folder, choice, parts=parts))
    click.echo(f"frame in memory → verdict, {v.device} {v.precision}\n  station {v.station}\n  bare    {v.bare}")
    _ratio("p50 ÷ bare", v.ratio_p50, "<=", 1.05)
    _ratio("p99 ÷ bare", v.ratio_p99, "<=", 1.25)
    t = run("throughput", lambda folder: throughput.measure(folder, choice))
    click.echo(f"flat out: {t.station_hz:.2f} pictures/s, benchmark_app {t.benchmark_app_hz:.2f} (medians of {t.rounds} rounds)")
    _ratio("station ÷ benchmark_app", t.ratio, ">=", 0.95)
    r = run("line", lambda folder: line.measure(folder, parts=parts))
    click.echo(f"verdict → echoed by the PLC\n  REJECT  {r.reject}\n  PASS    {r.passed}")
    click.echo(f"  bare 8-register write {r.bare_write}\n  bare durable commit   {r.bare_commit}")
    _ratio("REJECT p50, ms", r.reject.p50, "<=", 1.0)
    _ratio("REJECT p99, ms", r.reject.p99, "<=", 3.0)
    _ratio("PASS p50 less REJECT p50, ms", r.passed.p50 - r.reject.p50, "<=", 1.0)
    click.echo(f"  REJECT {r.reject_ratio:.2f} times a bare write, PASS {r.pass_ratio:.2f} times a bare write and commit (p50)")
    s = run("start", start.measure)
    click.echo("the station as a process")
    _ratio("start → first verdict, s", s.first_verdict_s, "<=", 3.0)
    _ratio("resident, MB", s.resident_mb, "<=", 300.0)
    figures["ratios"] = {"verdict_p50": v.ratio_p50, "verdict_p99": v.ratio_p99, "throughput": t.ratio}
    figures["ratios"] |= {"reject_p50": r.reject_ratio, "pass_p50": r.pass_ratio}
    return figures


def _ratio(name: str, value: float, sign: str, goal: float) -> None:
    reached = value <= goal if sign == "<=" else value >= goal
    click.echo(f"  {name:<32} {value:8.2f}   goal {sign} {goal:g}   {'reached' if reached else 'MISSED'}")
