"""From a module to trusted machine code: engine settings, the compiler in a process of its own, the cache."""
