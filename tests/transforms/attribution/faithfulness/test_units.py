"""Units: what is ranked and taken away together, over several inputs."""

from __future__ import annotations

import numpy as np

from transforms.attribution.faithfulness.units import Units, folded_to

RANDOM = np.random.default_rng(11)
MAPS = {"a": (4,), "image": (2, 3, 5), "summed": (3, 1)}
FULL = {"a": (4,), "image": (2, 3, 5), "summed": (3, 7)}


def test_the_units_of_several_inputs() -> None:
    units = Units.of_maps(MAPS)
    assert units.shapes == {"a": (4,), "image": (2, 3, 1), "summed": (3, 1)}
    assert units.count == 4 + 6 + 3
    maps = {name: RANDOM.normal(size=(2, *shape)) for name, shape in MAPS.items()}
    wanted = np.concatenate([maps["a"], maps["image"].sum(axis=3).reshape(2, 6), maps["summed"].reshape(2, 3)], axis=1)
    np.testing.assert_allclose(units.values(maps), wanted, rtol=1e-12)


def test_a_unit_is_taken_away_with_all_its_features() -> None:
    units = Units.of_maps(MAPS)
    row = {name: RANDOM.normal(size=shape).astype(np.float32) for name, shape in FULL.items()}
    fill = {name: np.zeros(shape) for name, shape in FULL.items()}
    blended = units.blended(np.eye(units.count, dtype=bool), row, fill)
    total = {name: value.sum(axis=0) for name, value in blended.items()}
    for name, value in row.items():
        # every feature belongs to exactly one unit: each shows once, beside zeros
        assert (total[name] == value).all() and blended[name].dtype == np.float32
    assert [np.count_nonzero(blended[name].reshape(units.count, -1).any(axis=1)) for name in FULL] == [4, 6, 3]
    assert np.count_nonzero(blended["image"][4]) == 5 and np.count_nonzero(blended["summed"][10]) == 7


def test_folding_sums_where_there_is_a_one() -> None:
    values = RANDOM.normal(size=(2, 3, 4))
    assert (folded_to(values, (3, 4)) == values).all()
    np.testing.assert_allclose(folded_to(values, (1, 4)), values.sum(axis=1, keepdims=True), rtol=1e-12)
