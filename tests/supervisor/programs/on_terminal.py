"""Run a command as the leader of a session whose terminal is stdin: `on_terminal.py COMMAND…`."""

import fcntl
import os
import sys
import termios

os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
