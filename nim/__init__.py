"""Service containers: the service application, the Dockerfile and build context of its image, and the engine that
builds, inspects, exports and tries it.

Nothing is imported here: the service runs without the Docker SDK, and the generators run without the runtime.
"""
