"""`edgelane demo`: a network's whole life in six verbs, ending in one table and one page."""

from edgelane.demo.chain import DemoResult, DemoSettings, run_demo

__all__ = ["DemoResult", "DemoSettings", "run_demo"]
