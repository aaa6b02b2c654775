"""Parsers for text of unknown origin: size, depth and number of values are bounded before memory is spent on them.

That of YAML is in `yaml_text`, which imports PyYAML.
"""

from .bounds import ATTESTATION_BOUNDS, CONFIG_BOUNDS, Bounds, Excess, Repeated
from .json_text import parse_json
from .toml_text import parse_toml

__all__ = ["ATTESTATION_BOUNDS", "CONFIG_BOUNDS", "Bounds", "Excess", "Repeated", "parse_json", "parse_toml"]
