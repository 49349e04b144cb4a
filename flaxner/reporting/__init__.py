"""What a run did, as a page to look at."""
