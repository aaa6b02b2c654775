"""The queue of a model: requests wait, are joined into batches, and are counted."""
