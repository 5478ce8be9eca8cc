"""`inspector check`: look at everything that the station needs, and start nothing."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from inspector.bundle import Bundle, find_default_bundle
from inspector.config import DirectLine, Finding, StationConfig, data_folder
from inspector.detect.tiles import tiles_for
from inspector.errors import ConfigError
from inspector.recipe import load
from inspector.timing import Measured, TimeBudget


@click.command("check", short_help="verify station.toml and all that it names; starts nothing")
@click.argument("station", type=click.Path(path_type=Path), metavar="STATION.toml")
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="data folder of the station")
@click.option("--json", "as_json", is_flag=True, help="one JSON object as the last line")
def check(station: Path, data: Path | None, as_json: bool) -> None:
    """Verify configuration, recipe, bundle and time budget. The exit status is 0 only if all of it can be used."""
    findings, budget = look(station, data)
    ok = all(finding.ok for finding in findings)
    for finding in findings:
        click.echo(f"{'ok' if finding.ok else 'NOT OK':<8}{finding.what}: {finding.text}")
    for row in budget.lines() if budget else []:
        click.echo(f"        {row}")
    if as_json:
        figures = {**asdict(budget), "needed_ms": budget.needed_ms, "margin_ms": budget.margin_ms} if budget else None
        click.echo(json.dumps({"ok": ok, "findings": [asdict(finding) for finding in findings], "budget": figures}))
    if not ok:
        raise click.exceptions.Exit(1)


def look(station: Path, data: Path | None) -> tuple[list[Finding], TimeBudget | None]:
    """Everything that there is to say about a station.toml; the budget where it could be added up."""
    # Here, not above: build knows every driver, and `inspector check --help` need not load them.
    from inspector.build import verify

    try:
        config = StationConfig.load(station)
    except ConfigError as e:
        return [Finding(False, "configuration", str(e))], None
    findings = [Finding(True, "configuration", f"{station}: {config.station.name}"), *verify(config)]
    if isinstance(config.line, DirectLine):
        return [*findings, Finding(True, "time budget", "not needed: this line has no gate")], None
    try:
        budget = time_budget(config, data)
    except ConfigError as e:
        return [*findings, Finding(False, "time budget", str(e))], None
    return [*findings, Finding(budget.ok, "time budget", budget.summary())], budget


def time_budget(config: StationConfig, data: Path | None) -> TimeBudget:
    """The budget from what `inspector bench` stored for this bundle, device, precision and frame size, for the recipe's number of tiles.

    Raises ConfigError.
    """
    measured = Measured.load(data_folder(data, config.station.data))
    bundle = Bundle.open(config.product.bundle or find_default_bundle())
    measured.require(
        bundle_sha256=bundle.hash,
        device=config.detector.device,
        precision=config.detector.precision or bundle.card.default_precision,
        frame_width=config.camera.width,
        frame_height=config.camera.height,
    )
    timing, plan = config.timing, tiles_for(load(config.product.recipe), bundle)
    tiles = len(plan.tiles) if plan else 1
    return TimeBudget(
        exposure_ms=timing.exposure_ms,
        transfer_ms=timing.transfer_ms,
        infer_p999_ms=measured.infer_ms(tiles),
        line_p999_ms=measured.line_p999_ms,
        gate_ms=timing.gate_ms,
        travel_ms=timing.travel_ms,
        deadline_ms=timing.send_deadline_ms,
        tiles=tiles,
    )
