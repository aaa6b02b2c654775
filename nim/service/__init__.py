"""The service application: one or more modules behind HTTP.

It is copied into images under the name ``portalis_service``, with the runtime beside it as ``portalis_backend``, and so
imports nothing else of portalis. Start it with ``python -m portalis.nim.service SERVICE.JSON`` (there:
``portalis_service``). Nothing is imported here: the health probe is a new process every few seconds.
"""
