"""Compilation of modules to machine code: load checks, engine settings, the compiler process and the cache."""
