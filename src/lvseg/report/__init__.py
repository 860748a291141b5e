"""Reports of a result: ``measurements.json`` for programs, ``report.html`` for people."""

from lvseg.report.document import SCHEMA, mask_document, measurements_document, to_json
from lvseg.report.page import to_html

__all__ = ["SCHEMA", "mask_document", "measurements_document", "to_html", "to_json"]
