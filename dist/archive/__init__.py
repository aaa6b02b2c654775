"""The archive: what goes into it, and how it is packed."""
