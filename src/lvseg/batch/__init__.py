"""Batch: many studies in workers, with limits, a journal to go on from, and one table.

``plan`` names the studies and their folders, ``Batch.run`` does them: in this process where there
is one study only, else in worker processes (:mod:`lvseg.batch.local`) or on Ray. The journal
(:mod:`lvseg.batch.journal`) is what makes a batch that was killed go on.
"""

from lvseg.batch.engine import Limits
from lvseg.batch.plan import Entry, code_table, open_root, plan, status_of, studies_of
from lvseg.batch.run import Batch, collect
from lvseg.batch.study import Work

__all__ = [
    "Batch",
    "Entry",
    "Limits",
    "Work",
    "code_table",
    "collect",
    "open_root",
    "plan",
    "status_of",
    "studies_of",
]
