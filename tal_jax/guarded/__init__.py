"""Files that the project wrote, read as if anybody had changed them: guarded, sealed, and only what can be."""
