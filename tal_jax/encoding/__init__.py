"""Encoding: videos to feature files and what is known of them, by an encoder on all devices."""
