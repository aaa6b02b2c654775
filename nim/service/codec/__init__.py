"""Request and response coding: JSON, binary tensors and protobuf, to and from NumPy arrays."""
