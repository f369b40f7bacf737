"""The short ways to write a configuration mean the same as the long ones; what has two meanings is refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from transforms.records.config import ColumnsConfig, InputConfig


def test_short_ways() -> None:
    short = InputConfig.model_validate({"files": "a.parquet", "features": {"x": "pixels"}})
    assert short == InputConfig.model_validate({"files": ["a.parquet"], "features": {"x": {"column": "pixels"}}})
    alone = ColumnsConfig.model_validate({"groups": {"income": [3, 4]}})
    assert alone == ColumnsConfig.model_validate({"groups": {"": {"income": [3, 4]}}})
    named = ColumnsConfig.model_validate({"groups": {"table": {"income": [3, 4]}}})
    assert dict(named.groups) == {"table": {"income": (3, 4)}}
    assert ColumnsConfig.model_validate({"groups": {}}).groups == {}


@pytest.mark.parametrize(
    "groups", [{"income": [3], "table": {"age": [1]}}, {"": {"income": [3]}, "table": {"age": [1]}}, [3, 4], "income"]
)
def test_groups_with_two_meanings_or_none(groups: object) -> None:
    with pytest.raises(ValidationError):
        ColumnsConfig.model_validate({"groups": groups})


@pytest.mark.parametrize("features", [["pixels"], "pixels", {}, {"x": 3}])
def test_features_that_are_none(features: object) -> None:
    with pytest.raises(ValidationError):
        InputConfig.model_validate({"files": "a", "features": features})
