"""Wire forms: what crosses a process boundary or is kept on a disk, and the rules by which it may change."""
