"""Detection mAP and proposal recall, in NumPy."""
