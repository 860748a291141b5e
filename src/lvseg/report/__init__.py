"""A result for programs (``measurements.json``) and for people (``report.html``)."""

from lvseg.report.document import SCHEMA, mask_document, measurements_document, to_json
from lvseg.report.page import to_html

__all__ = ["SCHEMA", "mask_document", "measurements_document", "to_html", "to_json"]
