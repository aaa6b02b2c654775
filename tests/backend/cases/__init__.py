"""One table of cases for every executor of a plan: each gives the same outputs and the same errors, byte for byte."""
