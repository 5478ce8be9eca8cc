"""`inspector inspect --reference-from good`: each picture's own reference, from a folder beside the picture's."""

from collections.abc import Iterable
from pathlib import Path

import click

from inspector.camera.pictures import PictureError, SixteenBit, list_pictures, read_picture
from inspector.errors import RecipeError
from inspector.reference import SEARCH_PX, Reference, Register, Registered
from inspector.types import Frame, Pose


def parts_of(paths: Iterable[Path], folder: str) -> tuple[list[Path], int]:
    """The pictures under `paths` that are not references themselves, and how many are. Raises PictureError, ClickException for none."""
    pictures = list_pictures(list(paths))
    parts = [path for path in pictures if path.resolve().parent.name != folder]
    if not parts:
        raise click.ClickException(f"--reference-from {folder}: every picture lies in {folder}/ and would be its own reference")
    return parts, len(pictures) - len(parts)


def references_from(folder: str, sixteen_bit: SixteenBit) -> Register:
    """The reference of DIR/x/K is DIR/`folder`/K, moved by whole px to where its anchors lie; within a pixel then, or the part faults."""

    def register(frame: Frame, pose: Pose) -> Registered:
        path = Path(frame.source).resolve()
        beside = path.parent.parent / folder / path.name
        try:
            pixels = read_picture(beside, pixel="mono", sixteen_bit=sixteen_bit, size=(frame.width, frame.height))
            reference = Reference(pixels, reach_px=SEARCH_PX, where=str(beside))
        except (PictureError, RecipeError) as error:
            return Registered(None, None, f"no reference: {error}")
        return reference.register(frame.pixels, reference.locate(frame.pixels, pose))

    return register
