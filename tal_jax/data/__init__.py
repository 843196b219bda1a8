"""Prepared sets on disk, and their way record by record into rows and batches."""
