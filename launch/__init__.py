"""Command-line entry points: python -m launch.NAME."""

from launch import huge_pages

huge_pages.ask_for()
