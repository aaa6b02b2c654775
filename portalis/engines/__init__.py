"""The container engine, Docker or Podman: reached, asked to build, and to run what was built."""
