"""Find wrong labels in a corpus: suspected errors, a page to review them, corrected files."""
