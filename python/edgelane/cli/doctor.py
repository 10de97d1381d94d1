"""`edgelane doctor`."""

from __future__ import annotations

import typer

from edgelane.cli.console import JsonFlag, out, print_json

MARKS = {"ok": ("ok", "green"), "missing": ("missing", "yellow"), "broken": ("broken", "red")}


def doctor(json: JsonFlag = False) -> None:
    """Say what works on this machine, what is missing, and the command that gets it.

    Exits with 1 when edgelane itself cannot run here; a missing peer or GPU is no failure.
    """
    from edgelane.doctor import examine

    findings = examine()
    broken = any(finding.status == "broken" for finding in findings)
    if json:
        print_json({"ok": not broken, "findings": [finding.to_dict() for finding in findings]})
    else:
        width = max(len(finding.name) for finding in findings)
        console = out()
        for finding in findings:
            mark, style = MARKS[finding.status]
            console.print(f"[{style}]{mark:8}[/] {finding.name:{width}}  ", end="")
            console.print(finding.detail, markup=False, end="")
            console.print(f"  → {finding.fix}" if finding.fix else "", markup=False)
    if broken:
        raise typer.Exit(1)
