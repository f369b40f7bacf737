"""`precision: tf32`: nothing else on a CPU, switched on for its own calls only."""

import contextlib

import numpy as np
import pytest
from precision_nets import BATCH, PROBE, explained, flat

from transforms.attribution.config import AttributionConfig
from transforms.attribution.engine.device import Turn
from transforms.attribution.engine.kernel import Kernel
from transforms.attribution.explainer import Explainer


@pytest.mark.parametrize("steps", ["auto", 24])
def test_tf32_on_a_cpu_is_float32_bit_for_bit(net, fresh, steps):
    model, x = net("attention")
    found, full = (explained(fresh, model, x, steps=steps, precision=name) for name in ("tf32", "float32"))
    for name in ("output", "baseline_output", "delta", "relative_delta", "error_estimate", "steps", "status"):
        np.testing.assert_array_equal(getattr(found, name), getattr(full, name))
    np.testing.assert_array_equal(flat(found), flat(full))


def noted(name, original, switch, calls):
    def method(kernel, *args):
        calls.append((name, id(kernel), switch[0]))
        found = original(kernel, *args)
        return [value * 1.001 for value in found] if name == "gradients" and switch[0] else found

    return method


def test_tf32_is_switched_on_for_its_own_calls_only(net, monkeypatch):
    """A CPU that claims to be a GPU, and whose TF32 makes every gradient larger by 0.1 %."""
    switch, calls = [False], []
    monkeypatch.setattr("transforms.attribution.explainer.claim_device", lambda: "GPU:pretended")
    monkeypatch.setattr(
        "transforms.attribution.engine.device.allow_tensor_float_32", lambda on: switch.__setitem__(0, on)
    )
    for name in ("forward", "gradients"):
        monkeypatch.setattr(Kernel, name, noted(name, getattr(Kernel, name), switch, calls))
    model, x = net("dense")
    engine = Explainer(model, AttributionConfig(target="predicted", steps=8, precision="tf32", batch_size=BATCH))
    found = engine.explain(x)
    assert {on for name, _, on in calls if name == "gradients"} == {True, False}
    assert {on for name, _, on in calls if name == "forward"} == {False}
    # XLA compiles the switch into the program
    for kernel in {kernel for _, kernel, _ in calls}:
        assert len({on for name, other, on in calls if (name, other) == ("gradients", kernel)}) <= 1
    assert not switch[0]
    np.testing.assert_allclose(found.error_estimate, 0.001, rtol=1e-3)
    assert (found.steps == 8 + 2 * PROBE).all()


def test_a_turn_ends_with_tf32_off_whatever_happens(monkeypatch):
    states = []
    monkeypatch.setattr("transforms.attribution.engine.device.allow_tensor_float_32", states.append)
    with contextlib.suppress(ZeroDivisionError), Turn(tensor_float_32=True):
        1 / 0  # noqa: B018
    with Turn(tensor_float_32=False):
        pass
    assert states == [True, False, False, False]
