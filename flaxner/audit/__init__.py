"""Which labels of a corpus are wrong: suspicions, a page to go through them, corrected files."""
