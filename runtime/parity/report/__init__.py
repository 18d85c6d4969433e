"""Reports for people and for CI: one HTML page, and JUnit XML."""

from __future__ import annotations

from runtime.parity.report.html import html_report
from runtime.parity.report.junit import junit_xml

__all__ = ["html_report", "junit_xml"]
