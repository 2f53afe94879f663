"""Egghead: a note store with a staff. The product; everything here may use supervisor, ipc and records."""

__version__ = "0.1.0"
