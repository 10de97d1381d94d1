"""Latency that can be believed: engines timed in turn in one run, on the same threads, their outputs compared first."""

from edgelane.bench.machine import Load, environment
from edgelane.bench.timing import BenchmarkResult, BenchmarkRow, benchmark

__all__ = ["BenchmarkResult", "BenchmarkRow", "Load", "benchmark", "environment"]
