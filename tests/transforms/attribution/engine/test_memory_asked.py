"""What is asked of the system about memory."""

import subprocess
import sys

import numpy as np
import pytest

from transforms.attribution.engine import memory

HELD = 300 * 2**20
ASK = "from transforms.attribution.engine.memory import peak_memory_bytes; print(peak_memory_bytes())"


def test_the_peak_is_that_of_what_was_held():
    before = memory.peak_memory_bytes()
    held = np.ones(HELD // 8)
    assert memory.peak_memory_bytes() >= max(before, held.nbytes)


@pytest.mark.skipif(not memory.PROCESS.exists(), reason="only Linux says it by program")
def test_the_peak_is_not_that_of_who_started_the_process():
    held = np.ones(HELD // 8)
    found = subprocess.run([sys.executable, "-c", ASK], check=True, capture_output=True, text=True)
    assert 2**20 < int(found.stdout) < held.nbytes / 2


def test_without_the_line_the_system_is_asked_otherwise(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "PROCESS", tmp_path / "status")
    assert 2**20 < memory.peak_memory_bytes() < 2**42
    (tmp_path / "status").write_text("Name:\tpython\nVmRSS:\t12 kB\n")
    assert 2**20 < memory.peak_memory_bytes() < 2**42


def test_the_container_may_leave_less_than_the_machine(monkeypatch, tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal:  99 kB\nMemAvailable:  10 kB\n")
    monkeypatch.setattr(memory, "MACHINE", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CONTAINER", tmp_path)
    assert memory.free_memory_bytes() == 10 * 1024
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("3000\n")
    assert memory.free_memory_bytes() == 2000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_memory_bytes() == 10 * 1024
    (tmp_path / "meminfo").write_text("MemAvailable:  0 kB\n")
    assert memory.free_memory_bytes() == 0
    (tmp_path / "meminfo").unlink()
    assert memory.free_memory_bytes() == np.inf
