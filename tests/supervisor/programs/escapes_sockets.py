"""Attempts on sockets: other servers of this machine, the network, families with a long record of holes."""

import errno
import os
import socket
import struct

from attempts import Nothing, attempt


@attempt("connect to a unix socket outside", "ENOENT", "reached")
def foreign_unix_socket(given):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(given["foreign_socket"])
        return "connected"


@attempt("a datagram to a unix socket outside", "ENOENT", "reached")
def foreign_unix_datagram(given):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        return sock.sendto(b"x", given["foreign_datagram"])


@attempt("connect to a unix socket outside through a symbolic link of its own", "ENOENT", "reached")
def foreign_socket_by_link(given):
    os.symlink(given["foreign_socket"], given["write"] + "/socket-link")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(given["write"] + "/socket-link")
        return "connected"


@attempt("connect to an abstract unix socket", "ECONNREFUSED|EPERM", "EPERM")
def foreign_abstract_socket(given):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect("\0" + given["abstract"])
        return "connected"


@attempt("a datagram to an abstract unix socket", "ECONNREFUSED|EPERM", "EPERM")
def foreign_abstract_datagram(given):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        return sock.sendto(b"x", "\0" + given["abstract"] + "-d")


@attempt("take an abstract name; at level full in a network namespace where nobody else is", "reached")
def abstract_name_of_its_own(given):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"\0eg-taken-{os.getpid()}-{given['port']}")
        return "bound"


@attempt("bind a socket of its own beside a given one", "EROFS", "EACCES")
def bind_beside_given(given):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(given["sockets"] + "/own")
        return "bound"


@attempt("say over a socket that it is another process", "EPERM")
def forged_credentials(given):
    left, right = socket.socketpair()
    with left, right:
        right.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        forged = struct.pack("3i", os.getppid(), os.getuid(), os.getgid())
        return left.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, forged)])


@attempt("find a descriptor of somebody else on its own control channel", "nothing")
def descriptors_on_the_channel(given):
    channel = socket.socket(fileno=os.dup(3))
    with channel:
        channel.setblocking(False)
        try:
            _, fds, _, _ = socket.recv_fds(channel, 1, 8, socket.MSG_PEEK)
        except BlockingIOError:
            fds = []
    if fds:
        return fds
    raise Nothing("none")


@attempt("TCP to a server of this machine", "EAFNOSUPPORT")
def tcp_connect(given):
    with socket.create_connection(("127.0.0.1", given["port"]), timeout=2):
        return "connected"


@attempt("TCP over IPv6", "EAFNOSUPPORT")
def tcp6_connect(given):
    with socket.create_connection(("::1", given["port"]), timeout=2):
        return "connected"


@attempt("listen on TCP", "EAFNOSUPPORT")
def tcp_listen(given):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        return "listening"


@attempt("UDP to this machine", "EAFNOSUPPORT")
def udp_send(given):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return sock.sendto(b"x", ("127.0.0.1", given["port"]))


@attempt("raw IP (ping)", "EAFNOSUPPORT")
def raw_ip(given):
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
        return sock.fileno()


@attempt("netlink to the kernel", "EAFNOSUPPORT")
def netlink(given):
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        return sock.fileno()


@attempt("raw packets", "EAFNOSUPPORT")
def raw_packets(given):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        return sock.fileno()


@attempt("vsock, to the host of a virtual machine", "EAFNOSUPPORT")
def vsock(given):
    with socket.socket(40, socket.SOCK_STREAM) as sock:
        return sock.fileno()


@attempt("the kernel's crypto sockets", "EAFNOSUPPORT")
def kernel_crypto(given):
    with socket.socket(38, socket.SOCK_SEQPACKET) as sock:
        return sock.fileno()


@attempt("every other family, in three types", "EAFNOSUPPORT")
def every_family(given):
    for family in range(2, 48):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
            try:
                socket.socket(family, kind).close()
            except OSError as error:
                if error.errno != errno.EAFNOSUPPORT:
                    raise
            else:
                return f"family {family}"
    raise OSError(errno.EAFNOSUPPORT, "none")


@attempt("a socket pair of IP", "EAFNOSUPPORT")
def internet_pair(given):
    for sock in socket.socketpair(socket.AF_INET, socket.SOCK_STREAM):
        sock.close()
    return "made"
