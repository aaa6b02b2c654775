"""Tests of the native libraries: how they are built, and how the one inside Triton finds its planner."""
