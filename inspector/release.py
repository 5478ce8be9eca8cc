"""A release: recipe revision + bundle hash + device + precision. What is activated, returned to, and stored with each part."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from inspector.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Release:
    """What judged a part. Device and precision are those that really ran, never "AUTO"."""

    recipe: Recipe
    bundle_name: str
    bundle_hash: str
    device: str
    precision: str
    runtime: str

    def document(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        return {
            "recipe": self.recipe.document(),
            "bundle": {"name": self.bundle_name, "sha256": self.bundle_hash},
            "device": self.device,
            "precision": self.precision,
            "runtime": self.runtime,
        }

    @property
    def id(self) -> str:
        """Names exactly this combination: the first 16 hex digits of the SHA-256 of its parts."""
        parts = [self.recipe.revision, self.bundle_hash, self.device, self.precision, self.runtime]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
