"""Synthetic call-centre calls. EVERYTHING generated here is synthetic: no call, customer or number is real.

Every record says so (`synthetic: true`). The same seed gives the same calls, and fewer are the first of more.
"""

from data_contracts.samples.personal import Planted
from data_contracts.samples.records import Record, Truth, generate, generate_with_truth

__all__ = ["Planted", "Record", "Truth", "generate", "generate_with_truth"]
