"""Limits of a service on what clients send."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What one client may send, and how many may wait."""

    max_mb: float = 32.0  # of one body
    max_snippets: int = 20_000  # of one recording
    max_waiting: int = 128  # recordings in the queue or at work
    timeout: float = 30.0  # seconds for a body to arrive, and in which something of a video has to
    max_video_mb: float = 512.0  # of one video
    max_video_seconds: float = 3600.0  # likewise
    max_videos: int = 4  # that arrive, wait or are encoded at a time
    video_timeout: float = 900.0  # seconds for a video to arrive, and as many again to encode it

    @property
    def body(self) -> int:
        """How many bytes one body may have."""
        return int(self.max_mb * 1e6)
