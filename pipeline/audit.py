"""`attribeam audit`: what the rows of a finished run say together, as tables and as a report."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.audit_report import REPORT, publish_report
from pipeline.evaluation import FinishedRun, read_run
from pipeline.runner import parse_options, run_pipeline
from transforms.audit import AuditAttributions
from transforms.auditing.audit_tables import ABOUT, FOLDER, AuditTables
from transforms.auditing.audited_parts import AuditJob
from transforms.auditing.findings.ranking import findings
from transforms.errors import AttribeamError
from transforms.finalize import versions
from transforms.storage import manifest as names
from transforms.storage.place import open_place


@dataclasses.dataclass(frozen=True)
class Audited:
    """An audit of a run, and whether it was made now; it was there already otherwise."""

    root: str
    tables: AuditTables
    computed: bool

    def describe(self) -> str:
        """A line for people, and one for each of the first findings."""
        about = self.tables.about
        found = [f"  {finding['severity']}: {finding['title']}" for finding in about["findings"][:5]]
        number = len(about["findings"])
        count = f"{number} finding{'' if number == 1 else 's'}" if number else "no findings"
        return "\n".join([f"{self.root}/{REPORT}: {count} in {len(self.tables['slices'])} slices", *found])


def audit(root: str, beam_options: Sequence[str] = (), command: str | None = None, again: bool = True) -> Audited:
    """Audit a finished run, over what an earlier audit of it left.

    Args:
        root: its directory.
        beam_options: passed on to Beam.
        command: that the user gave.
        again: also where the run has an audit of this version already.

    Raises:
        UsageError, AttribeamError: E_RUN_*, E_MANIFEST_DAMAGED, E_PART_DAMAGED, E_PART_MISSING, E_RUNNER.
    """
    started, options = time.time(), parse_options(beam_options)
    run = read_run(open_place(root))
    manifest = names.read_manifest(run.place)
    if not again and (found := _standing(run, manifest)) is not None:
        return Audited(run.place.root, found, False)
    classes = tuple(run.decides.get("model.classes") or ())
    job = AuditJob(run.place.root, classes, refused=manifest["quarantined"] > 0)
    with run.place.alone():
        steps = AuditAttributions(job, manifest["fingerprint"], manifest["shards"])
        run_pipeline(lambda pipeline: pipeline | steps, options)
        tables = AuditTables.read(run.place)
        about = {
            **tables.about,
            "attribeam": versions()["attribeam"],
            "run": {**_run(run, manifest), "command": command},
            "classes": list(classes) or None,
        }
        tables = dataclasses.replace(tables, about=about)
        about |= {"findings": [one.to_dict() for one in findings(tables)], "seconds": round(time.time() - started, 3)}
        tables.write_about(run.place)
        publish_report(run.place, tables)
    return Audited(run.place.root, tables, True)


def _standing(run: FinishedRun, manifest: Mapping[str, Any]) -> AuditTables | None:
    """The audit of this run that is there, whole and made by this version."""
    if not run.place.exists(f"{FOLDER}/{ABOUT}"):
        return None
    try:
        found = AuditTables.read(run.place)
    except AttribeamError:
        return None
    same = found.about.get("run", {}).get("fingerprint") == manifest["fingerprint"]
    return found if same and found.about.get("attribeam") == versions()["attribeam"] else None


def _run(run: FinishedRun, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What was run, how good it is and what it took."""
    config = run.config.model_dump(mode="json")
    attribution = config["attribution"]
    counted = ("fingerprint", "rows", "quarantined", "rows_by_status", "gradients", "seconds", "devices", "versions")
    return {
        "output": run.place.root,
        "model": config["model"]["path"],
        "layer": config["model"]["layer"],
        "input": config["input"]["files"],
        **{name: attribution[name] for name in ("method", "baseline", "target", "tolerance", "steps")},
        **{name: manifest[name] for name in counted},
        "input_rows": manifest["input_rows"],
    }
