"""Runs commands of lvseg in a process that dies when anything in it connects a socket.

python no_network.py COMMANDS.json: a list of argument lists. Prints the exit statuses as JSON.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import platform
import signal
import socket
import struct
import sys
from pathlib import Path

#: Numbers of the system calls ``connect``, ``sendto`` and ``sendmsg`` (Linux). Making a socket is
#: no connection: a library of pydicom does it when it is imported, to see what the system has.
CALLS = {"x86_64": (42, 44, 46), "aarch64": (203, 206, 211)}
_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _TRAP = 0x7FFF0000, 0x00030000


class Program(ctypes.Structure):
    """struct sock_fprog of linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def forbid_in_kernel() -> bool:
    """Let the kernel end this process at such a call, whoever makes it; False = it cannot."""
    numbers = CALLS.get(platform.machine())
    if numbers is None or sys.platform != "linux":
        return False
    count = len(numbers)
    steps = [
        (_LOAD, 0, 0, 0),  # the number of the call
        *((_EQUAL, count - place, 0, number) for place, number in enumerate(numbers)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _TRAP),
    ]
    code = b"".join(struct.pack("HBBI", *step) for step in steps)
    library = ctypes.CDLL(None, use_errno=True)
    program = Program(len(steps), code)
    if library.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        return False
    return library.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0) == 0


def forbid_in_python() -> None:
    """Fail at what Python itself does with a network, names of hosts included."""

    def forbid(event: str, arguments: object) -> None:
        if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
            raise SystemExit(f"network: {event} {arguments}")
        if event == "urllib.Request":
            raise SystemExit(f"network: {arguments}")

    sys.addaudithook(forbid)


def main() -> None:
    """Forbid, then run."""
    from lvseg.cli import main as command

    faulthandler.register(signal.SIGSYS, chain=True)  # says who it was
    forbid_in_python()
    told = {"kernel": forbid_in_kernel(), "statuses": []}
    for arguments in json.loads(Path(sys.argv[1]).read_text("utf-8")):
        if arguments == ["connect"]:  # for the test of this module
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"", ("127.0.0.1", 9))
        else:
            told["statuses"].append(command(arguments))
    sys.stderr.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
