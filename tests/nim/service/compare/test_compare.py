"""The service answers the same requests as a real Triton, except for the differences in the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from .comparison import all_cases, differences
from .control_cases import control_cases
from .known_differences import known_differences
from .serving import both_controlled, both_servers

DOCUMENTATION = Path(__file__).resolve().parents[4] / "docs" / "service.md"


@pytest.mark.service
@pytest.mark.triton
def test_each_difference_from_triton_is_in_the_table_and_the_table_has_no_others(
    tmp_path: Path, wasm_backends: Path
) -> None:
    cases, controlled = list(all_cases()), list(control_cases())
    names = [case.name for case in (*cases, *controlled)]
    assert len(set(names)) == len(names) > 300
    with both_servers(tmp_path, wasm_backends) as (triton, service):
        found = {case.name: differences(case, triton, service) for case in cases}
    with both_controlled(tmp_path, wasm_backends) as (triton, service):
        found |= {case.name: differences(case, triton, service) for case in controlled}
    known = {name: set(entry.aspects) for name, entry in known_differences().items()}
    new = [f"{name}: {each}" for name, each in found.items() if not set(each) <= known.get(name, set())]
    gone = [
        f"{name}: {aspects - set(found.get(name, {}))}"
        for name, aspects in known.items()
        if aspects - set(found.get(name, {}))
    ]
    assert not new, "not in the table:\n" + "\n".join(new)[:20_000]
    assert not gone, "in the table, but no difference:\n" + "\n".join(gone)[:20_000]


def test_the_documentation_lists_the_reasons_of_the_table() -> None:
    listed: list[str] = []
    for title in ("Errors of requests as in Triton", "Other requests as in Triton"):
        _, _, rest = DOCUMENTATION.read_text(encoding="utf-8").partition(f"\n## {title}\n")
        section = rest.partition("\n## ")[0]
        assert "\n- " in section, title
        listed += [" ".join(each.split()) for each in section.split("\n\n")[-1].removeprefix("- ").split("\n- ")]
    reasons = dict.fromkeys(each.reason for each in known_differences().values())
    assert sorted(listed) == sorted(f"{reason}." for reason in reasons if not reason.startswith("to do"))
