"""Cohort: the studies of an output folder as one table and one page."""

from lvseg.cohort.covariates import Joined, joined, read_covariates
from lvseg.cohort.page import PAGE, write_page
from lvseg.cohort.rows import Row, by_name, failed_row, read_document, read_rows, study_row
from lvseg.cohort.table import TABLE, write_table

__all__ = [
    "PAGE",
    "TABLE",
    "Joined",
    "Row",
    "by_name",
    "failed_row",
    "joined",
    "read_covariates",
    "read_document",
    "read_rows",
    "study_row",
    "write_page",
    "write_table",
]
