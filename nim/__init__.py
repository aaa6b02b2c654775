"""Service images: the service itself, the build context of an image, and the build and smoke test of the image.

Nothing is imported here: the service runs without the Docker SDK, and the generators run without the runtime.
"""
