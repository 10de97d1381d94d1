"""What is asked of torch's exporters, and what can become of a variant."""

from __future__ import annotations

# dynamo makes opset 18 and converts it to older ones; where its converter gives up, it leaves 18, which is therefore
# here as well. The last of each is the newest that it writes.
OPSETS = {"torchscript": (11, 13, 17, 20), "dynamo": (11, 13, 17, 18, 23)}

# Everything but the first two is a failing of edgelane.
AGREES = "agrees"
NOT_EXPORTABLE = "not exportable"  # torch itself cannot write this model at this opset
REFUSED = "refused"  # by the compiler
DISAGREES = "disagrees"
FAILED = "failed"  # by a limit of time or memory, a crash, or an output that says nothing


def key(exporter: str, opset: int) -> str:
    """The name of a variant in the results."""
    return f"{exporter}-{opset}"
