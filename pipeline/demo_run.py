"""`attribeam demo`: the whole way once, on real data."""

from __future__ import annotations

import pathlib

from rich.console import Console

from pipeline import demo
from pipeline.audit import audit
from pipeline.audit_report import REPORT
from pipeline.config import load_config
from pipeline.launch import run
from pipeline.report.contact_sheet import contact_sheet
from transforms.errors import printable
from transforms.runs.verify import require_valid
from transforms.storage.place import open_place


def run_demo(directory: pathlib.Path, console: Console) -> None:
    """Train, explain the held-out digits from Parquet and TFRecord, verify, audit and draw; all within `directory`.

    Raises:
        UsageError: E_EXTRA_MISSING without the `demo` extra; what `run` raises.
    """
    directory = directory.resolve()
    console.print("training a small CNN on 4,000 handwritten digits ...")
    files = demo.prepare(directory)
    console.print(f"accuracy on the 1,000 held-out digits: {files.accuracy:.1%}")
    for path, out in zip(files.configs, files.outputs, strict=True):
        console.print(f"explaining them: attribeam run {path}", soft_wrap=True)
        outcome = run(load_config(path), directory)
        require_valid(open_place(outcome.root), deep=True)
        console.print(f"  {outcome.manifest['rows']:,} rows, every value verified: {out}", soft_wrap=True)
    console.print(printable(audit(str(files.outputs[0])).describe()), soft_wrap=True)
    sheet = contact_sheet(files.outputs[0], demo.read_images(files.parquet), files.contact_sheet)
    console.print(f"model        {files.model}", soft_wrap=True)
    console.print(f"data         {files.parquet} and {files.tfrecord.name}", soft_wrap=True)
    console.print(f"attributions {files.outputs[0]} and {files.outputs[1].name}", soft_wrap=True)
    console.print(f"picture      {sheet}", soft_wrap=True)
    console.print(f"report       {files.outputs[0] / REPORT}", soft_wrap=True)
