"""The requests of one execution: checked, joined, split, answered apart."""
