"""Values that a model refuses to compute, and whose fault it is: that of a row, or the model's own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from transforms.attribution.explanation import LOST, Faults
from transforms.errors import Fault, UsageError

# What TensorFlow raises for an id that a table does not have, and for the assertions of a model
REFUSED = tf.errors.InvalidArgumentError
# So many rows fail alone before a program that never computed anything is doubted
TRIED = 8
CODE = "E_MODEL_INPUT_VALUE"
_NODE = re.compile(r"\{\{node ([^{}]+)\}\}")
_TAGS = re.compile(r"\{\{[^{}]*\}\}")


class Refusals:
    """Tells rows that a model refuses from a model that fails always. For all programs of one model.

    A program that has computed anything is sound: what it then refuses alone is the row's fault, and costs the row. One
    that never has may be broken for every row, which is not to be found out row by row: after some rows zeros decide.
    """

    def __init__(self) -> None:
        self._sound, self._failed = set[str](), Counter[str]()

    def computed(self, program: str) -> None:
        """A call of this program gave values."""
        self._sound.add(program)

    def fault(self, program: str, error: BaseException, zeros: Callable[[], object]) -> Fault:
        """Of a row that a program refuses alone.

        Args:
            zeros: calls the program with zeros in the row's place.

        Raises:
            UsageError: E_MODEL_INPUT_VALUE, when the program seems to compute nothing at all.
        """
        fault = Fault(CODE, f"the model cannot compute these values: {said(error)}; check ids against its vocabulary")
        if program not in self._sound:
            self._failed[program] += 1
            if self._failed[program] >= TRIED:
                self._doubt(program, error, zeros, fault)
        return fault

    def _doubt(self, program: str, error: BaseException, zeros: Callable[[], object], fault: Fault) -> None:
        try:
            zeros()
        except REFUSED:
            tried = self._failed[program]
            raise UsageError(CODE, f"not one of the first {tried} rows, nor zeros: {fault.message}") from error
        self.computed(program)


def no_faults(rows: int) -> Faults:
    """None for each row."""
    return np.full(rows, None, np.object_)


def first_fault(faults: Faults) -> Faults:
    """Of each row, where it has several chances: [rows, draws] → [rows]."""
    first = faults.astype(bool).argmax(axis=1)
    found: Faults = faults[np.arange(len(faults)), first]
    return found


def check_shared(faults: Faults) -> None:
    """Refuse a baseline that the model refuses, where rows share it: all of them would fail.

    Raises:
        UsageError: E_MODEL_INPUT_VALUE.
    """
    fault = faults[0]
    if fault is not None and fault is not LOST:
        raise UsageError(fault.code, f"at the baseline, {fault.message}")


def said(error: BaseException) -> str:
    """What TensorFlow says of the values, and which op says it: no stack traces, which hold paths of the machine."""
    text, nodes = str(error), _NODE.findall(str(error))
    lines = [line for line in text.partition("\n\t [[")[0].splitlines() if line.strip() and 'File "' not in line]
    words = _TAGS.sub("", lines[-1] if lines else "").partition(" [Op:")[0].strip()
    return f"{words[:200]}, at {nodes[-1][-80:]}" if nodes else words[:200]
