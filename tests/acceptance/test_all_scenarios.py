"""All twelve scenarios of the requirements (6.3) exist as tests with their names."""

from __future__ import annotations

import re
from pathlib import Path

SCENARIOS = {
    "acceptance_scenario_1_the_complete_pipeline",
    "acceptance_scenario_2_nim_container_generation",
    "acceptance_scenario_3_triton_model_configuration",
    "acceptance_scenario_4_partial_success",
    "unit_scenario_1_dockerfile_generation",
    "unit_scenario_2_triton_config_generation",
    "unit_scenario_3_archive_creation",
    "unit_scenario_4_openapi_generation",
    "integration_scenario_1_docker_integration",
    "integration_scenario_2_contract_with_the_test_agent",
    "contract_input_from_the_test_agent",
    "contract_output_completeness",
}


def test_every_scenario_is_a_test() -> None:
    texts = [path.read_text() for path in Path(__file__).parent.glob("test_*.py")]
    found = {name for text in texts for name in re.findall(r"^def test_(\w+)\(", text, re.MULTILINE)}
    assert found >= SCENARIOS, SCENARIOS - found
