"""One table of cases for all executors: each returns the same outputs and the same errors, byte for byte."""
