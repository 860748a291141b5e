"""`lvseg check`: the audit of a data set folder."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from lvseg.cli.app import command
from lvseg.cli.options import DatasetFolder
from lvseg.cli.output import Output, staged
from lvseg.issues import finding_lines

if TYPE_CHECKING:
    from lvseg.datasets.audit import Audit


@command("check", example="lvseg check dataset")
def check_dataset(out: Output, dataset: DatasetFolder) -> int:
    """Audit a data set folder.

    Looks at pairing, empty or broken masks, identifiers left in files, duplicates, patients on
    both sides of a split, the balance by pathology, sex and age, and unknown facts (licence,
    citation, ...). Errors end with status 3.
    """
    from lvseg.datasets import check

    with out.progress("checking") as bar:
        audit = check(dataset, progress=staged(bar))
    out.result(audit.document(), audit_text(audit))
    if not audit.ok:
        faults = [each for each in audit.issues if each.severity == "error"]
        out.warn(f"{dataset}: {len(faults)} kind(s) of error found, first: {faults[0].text}")
    return audit.exit_code


def audit_text(audit: Audit) -> str:
    """Show people the audit: sizes, balance by split, findings."""
    head = f"{audit.dataset}: {audit.images} images of {audit.patients} patients"
    lines = [f"{head}, {audit.empty} empty masks, {'ok' if audit.ok else 'NOT ok'}"]
    for split, part in audit.balance.items():
        facts = asdict(part)
        lines.append(f"  {split}: " + ", ".join(f"{key} {value}" for key, value in facts.items()))
    return "\n".join([*lines, *finding_lines(audit.issues)])
