"""Parsers for untrusted text: size, depth and number of values are checked before memory is used for them.

The YAML parser is in `yaml_text`, which imports PyYAML.
"""

from .bounds import ATTESTATION_BOUNDS, CONFIG_BOUNDS, Bounds, Excess, Repeated
from .json_text import parse_json
from .toml_text import parse_toml

__all__ = ["ATTESTATION_BOUNDS", "CONFIG_BOUNDS", "Bounds", "Excess", "Repeated", "parse_json", "parse_toml"]
