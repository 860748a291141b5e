"""Reports of a result: ``measurements.json`` for programs, ``report.html`` for people."""

from lvseg.report.document import to_json
from lvseg.report.page import to_html

__all__ = ["to_html", "to_json"]
