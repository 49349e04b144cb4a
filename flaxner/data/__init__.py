"""Files and data sets -> sentences -> segments -> packed batches."""
