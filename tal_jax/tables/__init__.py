"""Numbers in files that others wrote: what a header, a time, a decimal comma or a gap is gets told, or refused."""
