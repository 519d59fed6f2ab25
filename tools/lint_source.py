#!/usr/bin/env python3
"""Rules of the C sources that a compiler does not check. Reads file names from standard input, one a line; prints
"file:line: rule: text" for each finding; exits with 1 if there is one.

  includes   a folder includes only what stands below it (table LAYERS)
  tokens     a library is named only where it is wrapped (table TOKENS)
  unchecked  a status of MPI, HDF5 or oneDNN is not thrown away
  exit       only main.c and comm/ end the process
  ifdef      backends are chosen by registration, not by the preprocessor
  lines      at most 500 lines in a file
"""
import os
import re
import sys

MAX_LINES = 500

BELOW = {"core": [], "kernels": ["core"], "comm": ["core"], "io": ["core"]}
BELOW["model"] = ["core", "kernels", "comm", "io"]
BELOW["diffusion"] = BELOW["model"] + ["model"]
BELOW["training"] = BELOW["diffusion"] + ["diffusion"]
BELOW["commands"] = BELOW["training"] + ["training"]
EVERYTHING = BELOW["commands"] + ["commands"]

# what is named: in code, in the names of system headers, and where it may be (tests may name anything)
TOKENS = [
    ("CUDA", r"\b(?:cuda|cudnn)[A-Z]\w*", r"<cud", r"kernels/cuda/|comm/\w*nccl\w*\.[ch]$"),
    ("oneDNN", r"\bdnnl_\w+", r"<(?:oneapi/)?dnnl|<oneapi/", r"kernels/cpu/"),
    ("LAPACK", r"\bLAPACKE_\w+", r"<lapack", r"src/diffusion/linear_algebra\.[ch]$"),
    ("MPI", r"\bMPI_\w+", r"<mpi", r"comm/"),
    ("NCCL", r"\bnccl[A-Z]\w*", r"<nccl", r"comm/"),
    ("HDF5", r"\bH5[A-Z]*_?\w+", r"<hdf5|<H5", r"io/hdf5\w*\.[ch]$"),
    ("cJSON", r"\bcJSON\w*", r"<c?[jJ][sS][oO][nN]|<cjson/", r"src/core/config\w*\.[ch]$|io/"),
]
CALL = r"(?:P?MPI_[A-Z]\w*|H5[A-Z]+\w*|dnnl_\w+)"
UNCHECKED = re.compile(r"(?:^|[;{}:]|\)[ \t]*\n|\belse|\bdo)\s*(?<!\w)(" + CALL + r")\s*\(")
DISCARDED = re.compile(r"\(\s*void\s*\)\s*(" + CALL + r")\s*\(")
CLEAN_UP = re.compile(r"close|clear|free|destroy|finalize|abort", re.IGNORECASE)
ENDS_PROCESS = re.compile(r"\b(?:exit|abort|quick_exit|_Exit)\s*\(")  # _exit: only ever right in a forked child
CONDITIONAL = re.compile(r"^\s*#\s*(?:if|ifdef|ifndef|elif)\b.*(?:CUDA|CUDNN|NCCL|DNNL|ONEDNN)(?!\w*_H$)", re.IGNORECASE)
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)
COMMENT_OR_STRING = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


def blank(match):
    """The same text with everything but line ends replaced; a string keeps its quotes."""
    text = match.group(0)
    if text[0] == '"':
        return '"' + " " * (len(text) - 2) + '"'
    return re.sub(r"[^\n]", " ", text)


def layer_of(path):
    parts = path.split("/")
    if parts[0] == "src":
        return parts[1] if len(parts) > 2 else "main"
    return parts[0]


def check(path):
    with open(path, encoding="utf-8") as file:
        source = file.read()
    lines = source.split("\n")
    code = COMMENT_OR_STRING.sub(blank, source)
    code = DIRECTIVE.sub(lambda found: ";" + blank(found)[1:], code)  # ends what stands before it
    layer = layer_of(path)
    in_tests = layer == "tests"
    allowed = EVERYTHING + ["tests"] if layer in ("main", "tests") else BELOW.get(layer, EVERYTHING) + [layer]
    findings = []

    def report(number, rule, text):
        findings.append((path, number, rule, text))

    def line_of(offset):
        return code.count("\n", 0, offset) + 1

    if source.count("\n") > MAX_LINES:
        report(source.count("\n"), "lines", f"expected at most {MAX_LINES} lines, found {source.count(chr(10))}")

    for number, line in enumerate(lines, 1):
        include = INCLUDE.match(line)
        if include and include.group(1) == '"' and "/" in include.group(2):
            folder = include.group(2).split("/")[0]
            if folder in EVERYTHING + ["tests"] and folder not in allowed:
                report(number, "includes", f"{layer} must not include {include.group(2)}")
        if include and include.group(1) == "<" and not in_tests:
            for name, _, header, where in TOKENS:
                if re.match(header, "<" + include.group(2)) and not re.match(where, path):
                    report(number, "tokens", f"{name} belongs in {where}: {line.strip()}")
        if not path.startswith("kernels/") and CONDITIONAL.match(line) and "__CUDACC__" not in line:
            report(number, "ifdef", line.strip())
    for number, line in enumerate(code.split("\n"), 1):
        if in_tests:
            break
        for name, token, _, where in TOKENS:
            found = re.search(token, line)
            if found and not re.match(where, path):
                report(number, "tokens", f"{name} belongs in {where}: {found.group(0)}")

    if not in_tests:
        for found in UNCHECKED.finditer(code):
            before = code[: found.start(1)].rstrip()
            if not is_ternary(before):
                report(line_of(found.start(1)), "unchecked", f"{found.group(1)}: its status is not looked at")
        for found in DISCARDED.finditer(code):
            if not CLEAN_UP.search(found.group(1)):
                report(line_of(found.start(1)), "unchecked",
                       f"{found.group(1)}: (void) is for close, free and destroy on clean-up paths")
        if path != "src/main.c" and layer != "comm":
            for found in ENDS_PROCESS.finditer(code):
                report(line_of(found.start()), "exit", lines[line_of(found.start()) - 1].strip())
    return findings


def is_ternary(before):
    """`a ? b : MPI_x()` ends in a colon that is no label."""
    return before.endswith(":") and "?" in re.split(r"[;{}]", before)[-1]


def main():
    findings = []
    for path in (line.strip() for line in sys.stdin):
        if path and os.path.isfile(path):
            findings += check(path)
    for path, number, rule, text in findings:
        print(f"{path}:{number}: {rule}: {text}")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
