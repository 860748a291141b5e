"""A result for programs (``measurements.json``) and for people (``report.html``)."""

from lvseg.report.document import SCHEMA, mask_document, measurements_document, to_json

__all__ = ["SCHEMA", "mask_document", "measurements_document", "to_json"]
