"""Container engines, Docker and Podman: build images, inspect, export and push them, and run containers.

Imports nothing: `sdk`, and so `container_engine`, needs the Docker SDK, while `build_context` and `engine_commands` are
used without it.
"""
