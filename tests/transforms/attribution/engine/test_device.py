"""A GPU belongs to one process: claimed by lock files, with TensorFlow's own functions faked."""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap

import pytest

from transforms.attribution.engine import device
from transforms.errors import AttribeamError

HOLDER = """
    import fcntl, os, sys, time
    descriptor = os.open(sys.argv[1], os.O_RDONLY | os.O_CREAT, 0o644)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """machine(count, visible=None) → what the claim does to TensorFlow; locks are in `tmp_path`."""
    done = {"visible": [], "growth": [], "tf32": []}
    held, lock = [], device.fcntl.flock

    def noted(descriptor, how):
        lock(descriptor, how)
        held.append(descriptor)

    def with_gpus(count, visible=None):
        gpus = [f"gpu-{index}" for index in range(count)]
        config = device.tf.config
        monkeypatch.setattr(config, "list_physical_devices", lambda kind: gpus if kind == "GPU" else ["cpu"])
        monkeypatch.setattr(config, "set_visible_devices", lambda gpu, kind: done["visible"].append((gpu, kind)))
        monkeypatch.setattr(config.experimental, "set_memory_growth", lambda gpu, on: done["growth"].append((gpu, on)))
        monkeypatch.setattr(config.experimental, "enable_tensor_float_32_execution", done["tf32"].append)
        monkeypatch.setattr(config.experimental, "get_device_details", lambda gpu: {"device_name": f"name of {gpu}"})
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        return done

    monkeypatch.setattr(device.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(device.fcntl, "flock", noted)
    device.claim_device.cache_clear()
    yield with_gpus
    device.claim_device.cache_clear()
    for descriptor in held:  # a process keeps its lock for good
        os.close(descriptor)


@pytest.fixture
def holder(tmp_path):
    """holder(identity) → another process, which holds the lock of that GPU; ended with the test."""
    running = []

    def hold(identity):
        lock = tmp_path / f"attribeam-gpu-{identity}.lock"
        command = [sys.executable, "-c", textwrap.dedent(HOLDER), str(lock)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


def test_without_a_gpu_it_is_the_cpu(machine, tmp_path):
    done = machine(0)
    assert device.claim_device() == "CPU"
    assert done == {"visible": [], "growth": [], "tf32": []} and not list(tmp_path.iterdir())


@pytest.mark.parametrize(("cores", "share"), [(1, 1), (2, 1), (16, 8)])
def test_each_call_in_flight_gets_its_share_of_the_cores(machine, monkeypatch, cores, share):
    machine(0)
    monkeypatch.setattr(device.os, "sched_getaffinity", lambda process: set(range(cores)))
    assert threads_after_claim(monkeypatch, 0) == [share]


def test_threads_that_somebody_chose_stay_as_they_are(machine, monkeypatch):
    machine(0)
    assert threads_after_claim(monkeypatch, 5) == []
    device.claim_device.cache_clear()
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "5")
    assert threads_after_claim(monkeypatch, 0) == []


def threads_after_claim(monkeypatch, before):
    """What TensorFlow's threads were set to."""
    chosen, threads = [], device.tf.config.threading
    monkeypatch.setattr(threads, "get_intra_op_parallelism_threads", lambda: before)
    monkeypatch.setattr(threads, "set_intra_op_parallelism_threads", chosen.append)
    device.claim_device()
    return chosen


def test_a_process_that_has_computed_keeps_its_threads(machine):
    machine(0)
    device.tf.zeros(1) + 1
    before = device.tf.config.threading.get_intra_op_parallelism_threads()
    assert device.claim_device() == "CPU"
    assert device.tf.config.threading.get_intra_op_parallelism_threads() == before


def test_the_first_free_one_is_claimed_once(machine, tmp_path):
    done = machine(2)
    assert device.claim_device() == device.claim_device() == "GPU:name of gpu-0"
    assert done == {"visible": [("gpu-0", "GPU")], "growth": [("gpu-0", True)], "tf32": [False]}
    assert [path.name for path in tmp_path.iterdir()] == ["attribeam-gpu-0.lock"]


def test_another_process_has_the_first(machine, holder):
    done = machine(2)
    holder("0")
    assert device.claim_device() == "GPU:name of gpu-1"
    assert done["visible"] == [("gpu-1", "GPU")] and done["growth"] == [("gpu-1", True)]


def test_two_processes_never_claim_the_same(tmp_path):
    claim = f"""
        import sys
        sys.path.insert(0, {str(pathlib.Path(device.__file__).parents[3])!r})
        from transforms.attribution.engine import device
        config = device.tf.config
        config.list_physical_devices = lambda kind: ["gpu-0", "gpu-1"]
        config.set_visible_devices = lambda gpu, kind: None
        config.experimental.set_memory_growth = lambda gpu, on: None
        config.experimental.get_device_details = lambda gpu: {{"device_name": gpu}}
        print(device.claim_device(), flush=True)
        sys.stdin.read()
    """
    environment = {**os.environ, "TMPDIR": str(tmp_path), "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(claim)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        for _ in range(2)
    ]
    assert sorted(process.stdout.readline() for process in processes) == ["GPU:gpu-0\n", "GPU:gpu-1\n"]
    for process in processes:
        process.communicate("")
        assert process.returncode == 0


def test_none_is_free(machine, holder):
    done = machine(2)
    holder("0"), holder("1")
    with pytest.raises(AttribeamError) as caught:
        device.claim_device()
    assert caught.value.code == "E_GPU_BUSY" and "each of the 2 GPUs" in caught.value.message
    assert not done["visible"]


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_ends_with_its_process(machine, holder, end):
    machine(1)
    other = holder("0")
    with pytest.raises(AttribeamError):
        device.claim_device()
    other.send_signal(end)
    other.wait()
    assert device.claim_device() == "GPU:name of gpu-0"


def test_a_subset_has_the_identities_of_the_whole(machine, holder):
    done = machine(2, visible="3,1")
    holder("3")
    device.claim_device()
    assert done["visible"] == [("gpu-1", "GPU")]  # the second of the visible ones, which the machine calls 1


def test_a_subset_that_others_do_not_use_is_free(machine, holder, tmp_path):
    machine(1, visible="1")
    holder("0")
    assert device.claim_device() == "GPU:name of gpu-0"
    assert (tmp_path / "attribeam-gpu-1.lock").exists()


@pytest.mark.parametrize(
    ("visible", "name"),
    [("GPU-8a6f-01", "GPU-8a6f-01"), (" 2", "2"), ("../../etc/x", "etcx")],
)
def test_identities_are_plain_names(machine, tmp_path, visible, name):
    machine(1, visible=visible)
    device.claim_device()
    assert [path.name for path in tmp_path.iterdir()] == [f"attribeam-gpu-{name}.lock"]


def test_a_symlink_is_refused(machine, tmp_path):
    done = machine(1)
    (tmp_path / "precious").write_text("as it was")
    (tmp_path / "attribeam-gpu-0.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic links"):
        device.claim_device()
    assert not done["visible"] and (tmp_path / "precious").read_text() == "as it was"
