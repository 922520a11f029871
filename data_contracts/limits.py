"""Bounds that several layers share."""

MOST_VERSION = 2**31 - 1  # MLflow keeps a version's number in a column of 32 bits
