"""Inspector: an inspection station that can prove what happened to every part."""

__version__ = "0.1.0"
