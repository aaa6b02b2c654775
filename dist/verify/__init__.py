"""Verification of a received package: it is read as a stream, within limits, and never unpacked to disk."""

from .entries import ReadLimits
from .verification import VerificationReport, verify_package

__all__ = ["ReadLimits", "VerificationReport", "verify_package"]
