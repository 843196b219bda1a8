"""How detections, proposals and classes are measured, in NumPy: protocols, error diagnosis, the servers' rules."""
