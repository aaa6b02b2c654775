"""The service application: serves WebAssembly modules over HTTP and gRPC.

It is copied into images as ``portalis_service``, next to the runtime, ``portalis_backend``, and therefore imports
nothing else of portalis. Start it with ``python -m portalis.nim.service SERVICE.JSON`` (in images:
``portalis_service``). This module imports nothing, because the health probe is a new process every few seconds.
"""
