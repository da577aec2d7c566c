"""A study as one HTML page, and the same figures as JSON."""

from memcore.study.report.page import as_json, write_study_report

__all__ = ["as_json", "write_study_report"]
