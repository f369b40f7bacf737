"""How the points of a row are laid out in calls: nothing lost, nothing twice, little wasted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.attribution.rules import quadrature
from transforms.attribution.work import MAX_NODES, Work, choose_tiling, next_call, pending, tile

sizes = st.integers(1, 600)


@given(batch_size=sizes, steps=st.integers(1, 400))
def test_a_tiling_fits_and_wastes_little(batch_size, steps):
    found = choose_tiling(batch_size, steps)
    assert 1 <= found.points <= batch_size
    computed = -(-steps // found.nodes) * found.nodes
    # a tenth of a point a slot is saved at most, so no tiling that wastes more than that can be the cheapest
    assert computed <= 1.1 * steps


@given(batch_size=sizes, steps=st.integers(1, 400))
def test_a_model_of_one_batch_size_gets_just_that(batch_size, steps):
    assert choose_tiling(batch_size, steps, exact=True).points == batch_size


@given(steps=st.integers(2, 200), nodes=st.integers(1, MAX_NODES))
def test_tiles_are_the_rule(steps, nodes):
    rule = quadrature("riemann_trapezoid", steps)
    tiles = tile(rule, nodes)
    assert tiles.nodes.shape == tiles.weights.shape == (-(-steps // nodes), nodes)
    np.testing.assert_array_equal(tiles.weights.ravel()[:steps], rule.weights)
    np.testing.assert_array_equal(tiles.nodes.ravel()[:steps], rule.nodes)
    assert not tiles.weights.ravel()[steps:].any()


@pytest.mark.parametrize("slots", [1, 2, 5, 100])
def test_every_tile_of_every_row_is_computed_once_and_added_to_its_row(slots):
    tiles = tile(quadrature("riemann_left", 6), 2)
    queue = [work(rows) for rows in (3, 1, 4)]
    calls = 0
    while pending(queue):
        call = next_call(queue, tiles, slots)
        # what a kernel would bring back if the gradient at a point were the point itself
        call.add([np.sum(call.nodes * call.weights, axis=1, keepdims=True)])
        calls += 1
    assert calls == -(-8 * 3 // slots)
    for part in queue:
        # Σ j/6 · 1/6 over j = 0..5, in float64: some roundings of numbers below 1
        np.testing.assert_allclose(part.sums[0], 15 / 36, rtol=1e-15)


def work(rows):
    column = np.zeros((rows, 1))
    return Work([column], [column], np.zeros(rows, np.int64), np.zeros(rows), np.zeros(rows), tiles=3)
