"""How the points of a row are laid out in calls: nothing lost, nothing twice, little wasted."""

from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.attribution.config import AttributionConfig
from transforms.attribution.engine.calls import MAX_NODES, SLOT_COST, Block, next_call, nodes_in_slot, tile
from transforms.attribution.engine.refusals import no_faults
from transforms.attribution.engine.work import Chosen, Work
from transforms.attribution.explanation import LOST
from transforms.attribution.methods.method import difference
from transforms.attribution.methods.rules import levels, quadrature

sizes = st.integers(1, 600)
AUTO = levels(AttributionConfig(max_steps=512))


def fixed(steps):
    return levels(AttributionConfig(rule="riemann_middle", steps=steps))


def waste(steps, nodes):
    return -(-steps // nodes) * nodes / steps


@given(batch_size=sizes, steps=st.integers(1, 400))
def test_a_slot_fits_and_wastes_little(batch_size, steps):
    nodes = nodes_in_slot(fixed(steps), batch_size)
    assert 1 <= nodes <= min(batch_size, MAX_NODES)
    # slots of one node waste no point and cost that much each: no layout that wastes more can be the cheapest
    assert waste(steps, nodes) <= 1 + SLOT_COST


@given(batch_size=sizes, steps=st.integers(1, 400))
def test_no_other_slot_costs_less(batch_size, steps):
    def cost(nodes):
        return -(-steps // nodes) * (nodes + SLOT_COST)

    best = min(cost(nodes) for nodes in range(1, min(batch_size, MAX_NODES) + 1))
    assert cost(nodes_in_slot(fixed(steps), batch_size)) == best


@given(batch_size=sizes, steps=st.integers(1, 400))
def test_slots_fill_the_batch_of_a_model_that_takes_no_other(batch_size, steps):
    assert batch_size % nodes_in_slot(fixed(steps), batch_size, exact=True) == 0


@given(batch_size=sizes)
def test_a_slot_of_the_first_level_wastes_nothing_on_any(batch_size):
    nodes = nodes_in_slot(AUTO, batch_size)
    assert all(len(level.rule.nodes) % nodes == 0 for level in AUTO)


@given(steps=st.integers(2, 200), nodes=st.integers(1, MAX_NODES))
def test_tiles_are_the_rule(steps, nodes):
    rule = quadrature("riemann_trapezoid", steps)
    tiles = tile(rule, nodes)
    assert tiles.nodes.shape == tiles.weights.shape == (-(-steps // nodes), nodes)
    np.testing.assert_array_equal(tiles.weights.ravel()[:steps], rule.weights)
    np.testing.assert_array_equal(tiles.nodes.ravel()[:steps], rule.nodes)
    assert not tiles.weights.ravel()[steps:].any()


def work(rows):
    """Rows of one number, 1 to `rows`, from 0; the output is the number."""
    column, target = np.arange(1.0, rows + 1)[:, np.newaxis], np.zeros((rows, 1), np.int64)
    return Work([column], [column[:1] * 0], [column], [column[:1] * 0], Chosen(target, column, column * 0), difference)


def mean_node(paths):
    """What a kernel would bring back if F and its gradient at a point were the point's place on the path."""
    mean = np.sum(paths.nodes * paths.weights, axis=1)[:, np.newaxis]
    return [mean[..., np.newaxis], mean]


@pytest.mark.parametrize("slots", [1, 2, 5, 100])
def test_every_tile_of_every_row_is_computed_once_and_added_to_its_row(slots):
    level = fixed(6)[0]
    tiles, works = [tile(quadrature("riemann_left", 6), 2)], [work(rows) for rows in (3, 1, 4)]
    queue = deque(Block(part, np.arange(len(part.chosen.target)), 0, 3) for part in works)
    for block in queue:
        block.work.begin(block.rows, level, block.slots)
    calls, full = 0, {id(part): [] for part in works}
    while queue:
        call = next_call(queue, tiles, slots)
        assert call.paths.nodes.shape == (sum(len(part.rows) for part in call.segments), 2)
        first = 0
        for part in call.segments:
            chosen = slice(first, first + len(part.rows))
            sums = [value[chosen] for value in mean_node(call.paths)]
            full[id(part.work)] += list(part.work.add(part.rows, sums, no_faults(len(part.rows))))
            np.testing.assert_array_equal(call.paths.inputs[0][chosen], part.work.heads[0][part.rows])
            first = chosen.stop
        calls += 1
    assert calls == -(-8 * 3 // slots)
    for part in works:
        # Σ j/6 · 1/6 over j = 0..5, in float64: some roundings of numbers below 1
        np.testing.assert_allclose(part.sums[0], 15 / 36, rtol=1e-15)
        assert full[id(part)] == list(range(len(part.chosen.target)))


def test_a_level_is_carried_into_the_next_and_their_distance_is_the_change():
    part, rows = work(2), np.array([1])
    for first, gradient, level in ((True, 4.0, AUTO[0]), (False, 1.0, AUTO[1])):
        part.begin(rows, level, 1)
        part.add(rows, [np.full((1, 1, 1), gradient), np.zeros((1, 1))], no_faults(1))
        part.settle(rows, [part.sums[0][rows]], level, first)
    # the row is 2 from its baseline: 2 · 4 = 8, then 2 · (4/2 + 1) = 6, and |6 − 8| / 6
    assert part.attributions[0].ravel().tolist() == [0, 6]
    assert part.change[1, 0] == 2 / 6 and np.isnan(part.change[0, 0])
    assert part.steps.tolist() == [0, 4]


def test_what_is_lost_in_one_slot_is_lost_for_the_row():
    part, rows = work(2), np.array([0, 0, 1])
    part.begin(np.array([0, 1]), AUTO[0], 2)
    full = part.add(rows, [np.ones((3, 1, 1)), np.zeros((3, 1))], np.array([None, LOST, None]))
    assert full.tolist() == [0] and part.lost.tolist() == [True, False] and part.faults == {0: LOST}
