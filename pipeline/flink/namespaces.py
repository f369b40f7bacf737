"""Hosts of their own on this machine: network namespaces on a bridge, each with an address and a link that can be cut.

Needs root, and `ip` of iproute2.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

from pipeline.flink.cluster import Host

NETWORK, BRIDGE = "10.77.0", "attribeam0"


@contextlib.contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """Hosts at 10.77.0.2 and on; this process's is at 10.77.0.1. Nothing of them is left."""
    try:
        _ip("link", "add", BRIDGE, "type", "bridge")
        _ip("addr", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
        yield [_host(number) for number in range(count)]
    finally:
        for number in range(count):
            subprocess.run(["ip", "netns", "del", _name(number)], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", BRIDGE], check=False, capture_output=True)


def cut(number: int) -> None:
    """Take a host off the network: what is sent is lost, and nothing tells the others."""
    _ip("link", "set", f"{_name(number)}-out", "nomaster")


def restore(number: int) -> None:
    """Put it back."""
    _ip("link", "set", f"{_name(number)}-out", "master", BRIDGE)


def _host(number: int) -> Host:
    name, address = _name(number), f"{NETWORK}.{number + 2}"
    inside = ("netns", "exec", name, "ip")
    _ip("netns", "add", name)
    _ip("link", "add", f"{name}-out", "type", "veth", "peer", "name", "eth0", "netns", name)
    _ip("link", "set", f"{name}-out", "master", BRIDGE, "up")
    _ip(*inside, "addr", "add", f"{address}/24", "dev", "eth0")
    _ip(*inside, "link", "set", "eth0", "up")
    _ip(*inside, "link", "set", "lo", "up")
    return Host(address, ("ip", "netns", "exec", name))


def _name(number: int) -> str:
    return f"abeam{number}"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
