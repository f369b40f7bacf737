"""Beam counters of what attributing takes, in the namespace `attribeam`; docs/metrics.md has their units."""

from __future__ import annotations

from apache_beam.metrics import Metrics

from transforms.runs.work_done import ShardResult

NAMESPACE = "attribeam"


def count_shard(result: ShardResult) -> None:
    """Count what a shard took; only in a thread in which Beam calls a DoFn."""
    amounts = {
        "shards": 1,
        "rows": result.rows,
        "gradients": result.gradients,
        "reading_ms": round(result.reading_s * 1000),
        "computing_ms": round(result.computing_s * 1000),
        "writing_ms": round(result.writing_s * 1000),
        "programs_compiled": result.programs,
        "out_of_memory": result.out_of_memory,
        "quarantined": result.quarantined,
        **{f"quarantined_{code}": count for code, count in result.refused.items()},
    }
    for name, amount in amounts.items():
        Metrics.counter(NAMESPACE, name).inc(amount)
