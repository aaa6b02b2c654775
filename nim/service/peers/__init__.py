"""The connection between the worker processes of one service and their supervisor, and how their answers are merged."""
