"""One small file for each kind of OS process: its entry point, what it serves, what it subscribes to. No logic.

Besides these: `common` and `arguments`, which all of them share; `warm`, which rehearses the start of one before children
are forked.
"""
