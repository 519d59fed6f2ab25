#!/usr/bin/python3
"""Compares datasets of two HDF5 files: the same types and shapes, all numbers finite and no further apart than
TOLERANCE.

  compare_near.py TOLERANCE FILE FILE NAME...
"""
import sys

import h5py
import numpy as np


tolerance = float(sys.argv[1])
for name in sys.argv[4:]:
    first, second = (h5py.File(path, "r")[name][()] for path in sys.argv[2:4])
    if first.dtype != second.dtype or first.shape != second.shape:
        sys.exit(f"{name}: {first.dtype} {first.shape} and {second.dtype} {second.shape}")
    worst = np.max(np.abs(first.astype(float) - second.astype(float)))
    if not worst <= tolerance:
        sys.exit(f"{name}: differs by {worst:.1e}, expected at most {tolerance:.0e}")
    print(f"{name}: together to {worst:.1e}")
