"""Which device computes. An accelerator belongs to one process, which takes its memory as it needs it."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import pathlib
import tempfile
import threading
from typing import Any

import tensorflow as tf

from transforms.errors import AttribeamError

# While one call brings its sums back, or is in an operation that cannot use every core, another one computes; and while
# both do, whoever reads the stream decodes the next rows and writes the last.
CALLS_IN_FLIGHT = 2
# Calls made ready beside those: a core that is done has its next one while sums are added and rows are begun.
CALLS_READY = 2
_ONE_CALL = threading.Lock()


@functools.cache
def claim_device() -> str:
    """Claim a free accelerator for this process, for as long as it lives: `GPU:<name>`, or `CPU` where there is none.

    Must come before TensorFlow first computes. The lock is a file that the system unlocks when the process ends,
    however it ends.

    Raises:
        AttribeamError: E_GPU_BUSY when every accelerator of the machine belongs to another process.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        _share_cores()
        return "CPU"
    for gpu, identity in zip(gpus, _identities(len(gpus)), strict=True):
        if _lock(pathlib.Path(tempfile.gettempdir(), f"attribeam-gpu-{identity}.lock")):
            return f"GPU:{_use_only(gpu)}"
    raise AttribeamError(
        "E_GPU_BUSY",
        f"each of the {len(gpus)} GPUs of this machine computes for another process; start no more worker processes"
        " than there are GPUs (for one: --sdk_worker_parallelism=1), or hide the GPUs with CUDA_VISIBLE_DEVICES=-1",
    )


class Turn:
    """Held during each call of a claimed accelerator, which computes one at a time; the next is prepared meanwhile.

    Args:
        tensor_float_32: whether the call computes in TF32. TensorFlow has one switch for the whole process, so it is
            set under the same lock. XLA reads it when it compiles: a program must always have the same kind of turn.
    """

    def __init__(self, tensor_float_32: bool) -> None:
        self._tensor_float_32 = tensor_float_32

    def __enter__(self) -> None:
        _ONE_CALL.acquire()
        allow_tensor_float_32(self._tensor_float_32)

    def __exit__(self, *_: object) -> None:
        allow_tensor_float_32(False)
        _ONE_CALL.release()


def allow_tensor_float_32(allowed: bool) -> None:
    """Whether matrix products of float32 may be rounded to TF32's 10 bits, for all that is computed from now on."""
    tf.config.experimental.enable_tensor_float_32_execution(allowed)


def _share_cores() -> None:
    """Each call in flight gets its share of the cores: operations that split over all of them wait for each other.

    Whoever has set TensorFlow's threads, or has computed already, keeps them as they are.
    """
    if tf.config.threading.get_intra_op_parallelism_threads() or "TF_NUM_INTRAOP_THREADS" in os.environ:
        return
    with contextlib.suppress(RuntimeError):  # TensorFlow has computed already
        tf.config.threading.set_intra_op_parallelism_threads(max(1, _cores() // CALLS_IN_FLIGHT))


def _cores() -> int:
    """Those that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _identities(count: int) -> list[str]:
    """What tells the visible GPUs apart on their machine, whatever subset this process sees."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(index) for index in range(count)]
    return ["".join(letter for letter in name if letter.isalnum() or letter == "-") for name in names[:count]]


def _lock(path: pathlib.Path) -> bool:
    """Whether this process has the lock now: through a file that nobody closes, until the process ends."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    return True


def _use_only(gpu: Any) -> str:
    tf.config.set_visible_devices(gpu, "GPU")
    tf.config.experimental.set_memory_growth(gpu, True)
    # TensorFlow's own default is TF32: float32 means float32 here
    allow_tensor_float_32(False)
    return str(tf.config.experimental.get_device_details(gpu).get("device_name", "unknown"))
