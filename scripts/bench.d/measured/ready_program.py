"""What other supervisors run: the least Python that says ready, by its pid on a unix socket, and waits.

`python -I -S ready_program.py SOCKET [stdio]`. Nothing is imported but built-in modules, in favour of those who start
an interpreter for each child. `stdio`: say it on standard output too, and end with standard input (Erlang's ports).
"""

import _signal
import _socket
import os
import sys

_socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM).sendto(b"%d" % os.getpid(), sys.argv[1])
if sys.argv[2:] == ["stdio"]:
    os.write(1, b"ready\n")
    while os.read(0, 512):
        pass
else:
    while True:
        _signal.pause()
