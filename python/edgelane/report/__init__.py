"""One HTML file that holds a whole result: tables, plots and photos inlined, no script, nothing loaded from
elsewhere.
"""

from edgelane.report.page import LatencyPlot, LayerChart, Photo, Report, Table, write_report

__all__ = ["LatencyPlot", "LayerChart", "Photo", "Report", "Table", "write_report"]
