"""A server: texts in, entities out, over HTTP."""
