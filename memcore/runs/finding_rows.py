"""Rows of findings as a list that a notebook shows as a table."""

from __future__ import annotations

from memcore.graphs.findings import rank
from memcore.notebook import html_table
from memcore.runs.rows import FindingRow
from memcore.system.units import count

#: Findings in a notebook's table.
_SHOWN = 20


class FindingRows(list[FindingRow]):
    """A list of rows of findings/, of prompts with and without a finding."""

    def ranked(self) -> list[FindingRow]:
        """Return the rows with a finding in the order of the report: by mean distance, ties by prompt id."""
        found = [row for row in self if row["mean_distance"] is not None]
        order = rank([row["mean_distance"] for row in found], [row["prompt_id"] for row in found])
        return [found[i] for i in order]

    def _repr_html_(self) -> str:
        """Return the table that a notebook shows: the strongest findings."""
        ranked = self.ranked()
        rows = [
            [
                number,
                row["prompt_id"],
                row["prompt"],
                f"{row['size']} of {row['generated']}",
                f"{row['mean_distance']:.4f}",
            ]
            for number, row in enumerate(ranked[:_SHOWN], 1)
        ]
        more = f"; the first {_SHOWN} are shown" if len(ranked) > _SHOWN else ""
        said = f"<p>{len(ranked):,} of {count(len(self), 'prompt')} with a finding{more}</p>"
        return said + (html_table(rows, ["rank", "prompt", "text", "images", "distance"]) if rows else "")
