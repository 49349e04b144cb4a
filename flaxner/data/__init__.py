"""From files and data sets to sentences, segments and packed batches."""
