"""A disk that fails on command: a preloaded library (shim.c), a process that works under it, and power cuts from its log."""
