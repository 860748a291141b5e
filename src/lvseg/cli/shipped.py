"""Shipped models, each with what its card says and whether its weights are the card's."""

from __future__ import annotations

from typing import Any

from lvseg.errors import LvsegError


def found_models() -> list[dict[str, Any]]:
    """Every shipped model with what its card says, and whether its weights are the card's."""
    from lvseg import model_store

    rows = []
    for each in model_store.shipped():
        row: dict[str, Any] = {"name": each.name, "folder": each.folder, "verified": True}
        try:
            card = model_store.verify(each.folder)
            row |= {"version": card.version, "parameters": card.parameters, "sha256": card.sha256}
            row |= {"licence": card.licence, "scores": card.scores, "error": None}
        except LvsegError as error:
            row |= {"verified": False, "error": str(error)}
        rows.append(row)
    return rows
