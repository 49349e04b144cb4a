"""Tags -> scores, mistakes, prediction files, tables."""
