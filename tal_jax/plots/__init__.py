"""Pictures of recordings: their truth, detections and class activation sequences."""
