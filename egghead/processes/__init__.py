"""One small file for each kind of OS process: its entry point, what it serves, what it subscribes to. No logic."""
