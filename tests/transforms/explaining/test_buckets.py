"""Rows of different lengths in buckets of one: nothing lost, the order kept, meaningless baselines refused."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from transforms.attribution.config import AttributionConfig
from transforms.attribution.explainer import Explainer
from transforms.attribution.model.model import Model
from transforms.attribution.model.model_input import ModelInput
from transforms.errors import UsageError
from transforms.explaining.buckets import (
    buckets,
    check_attribution,
    explained_shapes,
    in_order,
    usual_lengths,
    usual_shapes,
)
from transforms.records.examples import Examples, Layout
from transforms.records.feature import Feature, Varying
from transforms.records.ragged import Ragged

FLOAT = np.dtype(np.float32)


def feature(name: str, shape: tuple[int, ...] = (), varying: Varying | None = None) -> Feature:
    return Feature(name, name, shape, None, FLOAT, varying=varying)


LAYOUT = Layout(
    (feature("a", (2,), Varying(40)), feature("b", (), Varying(9, 9, -1.0)), feature("c", (3,))),
    baselines=(feature("a", (2,), Varying(40)),),
    lengths={"a": 20, "b": 3},
)
A, B = np.array([1, 17, 40, 16, 16]), np.array([2, 9, 1, 3, 9])


def ragged(lengths: np.ndarray, shape: tuple[int, ...] = (), start: float = 1.0) -> Ragged:
    """Each step holds its row's number, from `start` on."""
    steps = np.repeat(np.arange(len(lengths)) + start, lengths).astype(np.float32)
    return Ragged(np.broadcast_to(steps.reshape(-1, *(1 for _ in shape)), (len(steps), *shape)).copy(), lengths)


def examples() -> Examples:
    inputs = {"a": ragged(A, (2,)), "b": ragged(B), "c": np.arange(15, dtype=np.float32).reshape(5, 3)}
    carried = {"label": pa.array(list("vwxyz"))}
    return Examples(list("pqrst"), np.arange(5) + 7, inputs, {"a": ragged(A, (2,), 9.0)}, np.arange(5), carried)


def test_rows_are_grouped_by_the_length_of_their_longest_input() -> None:
    found = buckets(examples(), LAYOUT)
    assert [bucket.batch.inputs["a"].shape for bucket in found] == [(3, 16, 2), (1, 24, 2), (1, 40, 2)]
    assert [bucket.batch.inputs["b"].shape for bucket in found] == [(3, 9), (1, 9), (1, 9)]
    assert [bucket.batch.row_ids for bucket in found] == [["p", "s", "t"], ["q"], ["r"]]
    assert [bucket.batch.lengths["b"].tolist() for bucket in found] == [[2, 3, 9], [9], [1]]
    assert [bucket.examples.carried["label"].to_pylist() for bucket in found] == [["v", "y", "z"], ["w"], ["x"]]
    first = found[0].batch
    assert first.inputs["a"][1, :, 0].tolist() == [4.0] * 16
    assert first.inputs["a"][0, :, 1].tolist() == [1.0] + [0.0] * 15
    assert first.baselines["a"][0, :2, 0].tolist() == [9.0, 0.0]
    assert first.inputs["b"][0].tolist() == [1.0] * 2 + [-1.0] * 7
    assert first.inputs["c"].tolist() == [[0, 1, 2], [9, 10, 11], [12, 13, 14]]
    assert first.labels is not None
    assert first.labels.tolist() == [0, 3, 4]


def test_rows_of_one_length_are_one_group_as_they_are() -> None:
    layout = Layout((feature("c", (3,)),))
    rows = examples()
    plain = Examples(rows.row_ids, rows.source_rows, {"c": rows.inputs["c"]}, {}, None, {})
    (bucket,) = buckets(plain, layout)
    assert bucket.examples is plain
    assert bucket.batch.inputs["c"] is rows.inputs["c"]
    assert not bucket.batch.lengths
    assert buckets(plain.without(range(5)), layout) == []
    assert buckets(rows.without(range(5)), LAYOUT) == []


def test_output_rows_come_back_into_order_with_their_targets() -> None:
    kind = pa.list_(pa.float32())
    whole = pa.record_batch(
        {"source_row": [2, 2, 3, 3, 5, 5], "target": [1, 0, 2, 1, 0, 2], "values": pa.array([[1.0]] * 6, kind)}
    )
    parts = [whole.slice(2, 2), whole.take(pa.array([0, 1, 4, 5]))]
    assert in_order(parts).equals(whole)
    assert in_order([whole]) is whole


def test_the_usual_length_is_the_mean_of_some_rows() -> None:
    assert usual_lengths(examples()) == {"a": 18, "b": 5}
    assert usual_lengths(examples().without(range(5))) == {"a": 1, "b": 1}
    assert usual_shapes(LAYOUT) == [(24, 2), (9,), (3,)]


class _Explained:
    """What `check_attribution` asks a model for."""

    explained = tuple(ModelInput(name, (None, 2), FLOAT, FLOAT, True) for name in ("a", "c"))


@pytest.mark.parametrize(
    ("name", "declared", "shape", "written"),
    [
        ("a", (None, 2), (24, 2), (None, 2)),
        ("c", (3,), (3,), (3,)),
        ("embedding", (None, 64), (24, 64), (None, 64)),
        ("halved", (None, 64), (12, 64), (None, 64)),
        ("dense", (16,), (16,), (16,)),
    ],
)
def test_what_is_written_varies_where_inputs_do_and_layers_that_follow_them(
    name: str, declared: tuple[int | None, ...], shape: tuple[int, ...], written: tuple[int | None, ...]
) -> None:
    explained = ModelInput(name, declared, FLOAT, FLOAT, True)
    model = SimpleNamespace(explained=(explained,), sources=_Explained.explained)
    explainer: Explainer = SimpleNamespace(model=model, explained_shapes=lambda shapes: {name: shape})  # type: ignore[assignment]
    assert explained_shapes(LAYOUT, explainer) == {name: written}


@pytest.mark.parametrize(
    ("baseline", "code"),
    [
        ({"a": {"blur": 2}}, "E_BASELINE_INPUT"),
        ({"a": ["zeros", {"blur": 2}]}, "E_BASELINE_INPUT"),
        ({"a": {"constant": [[1.0, 2.0]] * 16}}, "E_BASELINE_SHAPE"),
        ({"a": {"constant": [1.0, 2.0, 3.0]}}, "E_BASELINE_SHAPE"),
    ],
)
def test_baselines_that_do_not_fit_every_length_are_refused(baseline: dict, code: str) -> None:
    model: Model = _Explained()  # type: ignore[assignment]
    with pytest.raises(UsageError) as error:
        check_attribution(LAYOUT, AttributionConfig.model_validate({"baseline": baseline}), model)
    assert error.value.code == code


def test_noise_is_not_adapted_to_padding() -> None:
    method = {"name": "smooth_taylor", "adaptive_noise": "autvc"}
    config = AttributionConfig.model_validate({"method": method, "baseline": {"gaussian": 0.1, "draws": 4}})
    model: Model = _Explained()  # type: ignore[assignment]
    with pytest.raises(UsageError) as error:
        check_attribution(LAYOUT, config, model)
    assert error.value.code == "E_ADAPTIVE_NOISE"
    check_attribution(Layout((feature("c", (3,)),)), config, model)


def test_constants_of_a_step_and_baselines_by_row_fit_every_length() -> None:
    model: Model = _Explained()  # type: ignore[assignment]
    for one in ("zeros", {"constant": [1.0, 2.0]}, {"column": "k"}, {"gaussian": 0.1}, {"max_distance": [0, 1]}):
        check_attribution(LAYOUT, AttributionConfig.model_validate({"baseline": {"a": one}}), model)
    check_attribution(LAYOUT, AttributionConfig.model_validate({"baseline": {"c": {"blur": 1}}}), model)
