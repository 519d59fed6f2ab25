#!/usr/bin/python3
"""Compares HDF5 files bit by bit: every dataset of the first must be in each other one with the same type, shape and
bytes, and no other. Prints each difference; exits with 1 if there is one.

  compare_h5.py [--attributes step,epoch] [--differ] FILE FILE...     --differ: fails if they are equal
"""
import argparse
import sys

import h5py
import numpy as np


def contents(path, attributes):
    found = {}
    with h5py.File(path, "r") as file:
        file.visititems(lambda name, item: found.__setitem__(name, item[()]) if isinstance(item, h5py.Dataset) else None)
        for name in attributes:
            found["attribute " + name] = np.asarray(file.attrs[name])
    if not found:
        sys.exit(f"{path}: no datasets to compare")
    return found


def differences(first, other):
    for name in sorted(first.keys() | other.keys()):
        if name not in first or name not in other:
            yield f"{name}: only in {'the first' if name in first else 'the second'}"
            continue
        a, b = first[name], other[name]
        if a.dtype != b.dtype or a.shape != b.shape:
            yield f"{name}: {a.dtype} {a.shape} and {b.dtype} {b.shape}"
        elif a.tobytes() != b.tobytes():
            count = int(np.sum(np.frombuffer(a.tobytes(), np.uint8) != np.frombuffer(b.tobytes(), np.uint8)))
            yield f"{name}: {count} of {a.nbytes} bytes differ"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--attributes", default="")
    parser.add_argument("--differ", action="store_true")
    parser.add_argument("files", nargs="+")
    a = parser.parse_args()
    attributes = [name for name in a.attributes.split(",") if name]
    first = contents(a.files[0], attributes)
    total = 0
    for path in a.files[1:]:
        found = list(differences(first, contents(path, attributes)))
        total += len(found)
        if a.differ:
            continue
        for line in found[:5]:
            print(f"{a.files[0]} and {path}: {line}")
        if len(found) > 5:
            print(f"... and {len(found) - 5} more")
    if a.differ and total == 0:
        print(f"{a.files[0]} and {a.files[1]} are equal but should differ")
    if (total == 0) == a.differ:
        sys.exit(1)
    print(f"{len(first)} datasets and attributes {'differ' if a.differ else 'bit-identical'} in {len(a.files)} files")


if __name__ == "__main__":
    main()
