#!/usr/bin/python3
"""Compares two steps.jsonl: the same steps, each once and in order, with equal epoch, loss, grad_norm and lr."""
import json
import math
import sys

FIELDS = ("step", "epoch", "loss", "grad_norm", "lr")


def read(path):
    with open(path, encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    if [record["step"] for record in records] != list(range(1, len(records) + 1)) or not records:
        sys.exit(f"{path}: expected steps 1, 2, ... each once, found {[record['step'] for record in records]}")
    if not all(math.isfinite(record["loss"]) for record in records):
        sys.exit(f"{path}: a loss is not finite")
    return [[record[field] for field in FIELDS] for record in records]


first, second = read(sys.argv[1]), read(sys.argv[2])
if first != second:
    where = next((i for i, (a, b) in enumerate(zip(first, second)) if a != b), min(len(first), len(second)))
    sys.exit(f"{sys.argv[1]} ({len(first)} steps) and {sys.argv[2]} ({len(second)} steps) differ at step {where + 1}: "
             f"{first[where:where + 1]} and {second[where:where + 1]}")
print(f"{len(first)} steps equal")
