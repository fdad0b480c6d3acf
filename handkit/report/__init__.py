"""What a scoring run leaves behind: JSON, CSV, figures, one HTML page."""

from handkit.report.write import write_report

__all__ = ["write_report"]
