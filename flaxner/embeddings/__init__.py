"""Static and contextual word vectors side by side: what a sentence adds to a word's meaning."""
