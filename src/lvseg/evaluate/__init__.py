"""Evaluation of a model on held-out patients, and agreement of any two masks or folders of them.

:func:`evaluate` and :func:`compare` give an :class:`Evaluation`; :func:`document` makes it the
object that ``--json`` prints, :func:`table` the rows of the printed table. The definitions are in
``docs/metrics.md``.
"""

from __future__ import annotations

from lvseg.evaluate.compare import compare
from lvseg.evaluate.dataset import evaluate
from lvseg.evaluate.document import document, table
from lvseg.evaluate.rows import Evaluation, ImageRow, PatientRow

__all__ = ["Evaluation", "ImageRow", "PatientRow", "compare", "document", "evaluate", "table"]
