"""Mesh, shardings, processes, allocator, compilation cache."""
