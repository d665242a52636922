"""What operators are told of a journal that is not as it should be.

Not for what it holds (`gateway.admin.journal_desk`). Requirement: L-01.
"""

from __future__ import annotations

from gateway.journal.journal import Journal


def journal_warnings(journal: Journal) -> list[str]:
    """What an operator should know of a journal."""
    found = []
    if journal.failure:
        found.append(f"acts are refused: {journal.failure}")
    if journal.damaged:
        logs = ", ".join(sorted(journal.damaged))
        found.append(f"logs of the journal are not what was signed and take no events: {logs}")
    if journal.unsigned:
        found.append(f"events of the journal cannot be signed: {journal.unsigned}")
    return found
