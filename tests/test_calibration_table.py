#!/usr/bin/env python3
"""tools/calibration_table against a stand-in for the program, whose sweeps have numbers we choose: its table, its
verdicts in both directions, and the part of docs/calibration.md it replaces.

    tests/test_calibration_table.py TOOL"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

STAND_IN = '''#!/usr/bin/env python3
import json, os, sys
words = sys.argv[1:]
if words[0] != "sweep":
    sys.exit("expected the command sweep")
settings = dict(word.split("=", 1) for word in words if "=" in word)
run = os.path.join(words[words.index("--outputs") + 1], words[words.index("--run") + 1])
chosen = json.loads(os.environ["CHOSEN"])
if chosen.get("fail"):
    sys.exit("no such thing")
prior, samplers = settings.get("prior.name", "network"), json.loads(settings["sweep.samplers"])
images, fraction = int(settings["sweep.images"]), json.loads(settings["sweep.fractions"])[0]
numbers = {"coverage": 0.9, "observed": 0.88, "ratio": 1.01, "tv": 0.05, "p": 0.4, "error": 0.005}
numbers = {sampler: dict(numbers) for sampler in samplers}
if "exact" in numbers:
    numbers["exact"].update(ratio=1.0, tv=0.04)
numbers["dps_plus"].update(ratio=1.5, tv=0.5, observed=0.01, p=1e-12)
for sampler, changed in chosen.get(prior, {}).items():
    numbers[sampler].update(changed)
os.makedirs(run, exist_ok=True)
cell = lambda mean, error: {"mean": mean, "standard_error": error, "low": None, "high": None, "count": images}
results, ranks = {}, {}
with open(os.path.join(run, "units.csv"), "w") as file:
    file.write("unit,truth_index,sampler,missing.crps,missing.energy\\n")
    for sampler in samplers:
        of = numbers[sampler]
        results[sampler] = {str(fraction): {
            "missing": {"coverage90": cell(of["coverage"], of["error"]), "crps": cell(0.1, 0.01), "energy": cell(0.2, 0.01)},
            "observed": {"coverage90": cell(of["observed"], of["error"])},
            "image": {"tv": cell(of["tv"], of["error"]), "tv_exact": cell(0 if prior == "gaussian" else 0.04, 0), "right": cell(0.9, 0.01)}}}
        ranks[sampler] = {"missing.mean": {"p_value": of["p"] / 2, "counts": []}, "observed.pixel": {"p_value": None, "counts": []},
                          "missing.squares": {"p_value": 0.9, "counts": []}}
        for image in range(images):
            exact = 0.1 + 0.001 * image
            score = of["ratio"] * exact + (0.002 if image % 2 else -0.002) * (sampler != "exact")
            file.write(f"0,{image},{sampler},{score},{'' if image == 1 else score}\\n")
with open(os.path.join(run, "summary.json"), "w") as file:
    json.dump({"samplers": samplers, "metrics": [{"group": "missing", "name": "coverage90", "target": 0.9}],
               "results": results, "ranks": ranks}, file)
'''

failures = 0


def expect(condition, what):
    global failures
    if not condition:
        failures += 1
        print(f"FAILED: {what}")


def run(folder, chosen, *words):
    """Exit status, what was printed, table.json."""
    output = os.path.join(folder, "out")
    shutil.rmtree(output, ignore_errors=True)
    done = subprocess.run([os.path.join(folder, "tools", "calibration_table"), "--output", output, "--checkpoint", "none",
                           *words, os.path.join(folder, "program")],
                          capture_output=True, text=True, cwd=folder, env={**os.environ, "CHOSEN": json.dumps(chosen)})
    path = os.path.join(output, "table.json")
    table = json.load(open(path, encoding="utf-8")) if os.path.exists(path) else None
    return done.returncode, done.stdout + done.stderr, table


def missed(table):
    return [entry["check"] for entry in table["verdicts"] if not entry["passed"]]


def test_good(folder):
    status, text, table = run(folder, {}, "--quick")
    expect(status == 0 and not missed(table), f"good numbers pass: {text}")
    priors = [one["prior"] for one in table["tables"]]
    expect(priors == ["gaussian", "mixture", "class-gaussian", "empirical"], f"all exact priors: {priors}")
    expect("lowest TV" in text, "the aim of the empirical prior is reported")
    row = next(row for row in table["tables"][2]["rows"] if row["sampler"] == "guided_calibrated")
    # 40 images, exact scores 0.1 .. 0.139, residuals -+ 0.002: sqrt(40^2 0.002^2 / 39) / sum
    total = sum(0.1 + 0.001 * image for image in range(40))
    expect(abs(row["crps_ratio"]["value"] - 1.01) < 1e-9, f"ratio: {row['crps_ratio']}")
    expect(abs(row["crps_ratio"]["standard_error"] - 40 * 0.002 / 39 ** 0.5 / total) < 1e-4,  # sum of d x is not quite 0
           f"its standard error: {row['crps_ratio']}")
    expect(abs(row["sbc"]["p_value"] - 0.4) < 1e-12 and row["sbc_observed"]["p_value"] is None,
           f"p-value times the two tested statistics: {row['sbc']} {row['sbc_observed']}")
    status, text, table = run(folder, {}, "--priors", "mixture")
    expect(status == 0 and len(table["tables"][0]["rows"]) == 9, f"nine samplers: {text}")
    expect(text.count("| `") == 8 and text.count("| **`guided_calibrated`**") == 1 and "| `tds` | 0.900 ± 0.005 | 0.880 ± 0.005 | 1.01 ± 0.00 |" in text, text)


def test_missed(folder):
    """Each change, and the word that must be in the one check it makes fail."""
    best = "guided_calibrated"
    for prior, sampler, change, word in [
            ("gaussian", best, {"coverage": 0.935}, "coverage within"),
            ("class-gaussian", best, {"coverage": 0.865}, "coverage within"),
            ("class-gaussian", best, {"ratio": 1.06}, "CRPS at most"),
            ("mixture", best, {"tv": 0.08}, "TV at most"),
            ("mixture", best, {"tv": 0.08, "error": 0.05}, "observed coverage"),
            ("empirical", best, {"observed": 0.7}, "observed coverage"),
            ("class-gaussian", "dps_plus", {"tv": 0.355}, "dps_plus: TV over"),
            ("gaussian", "exact", {"p": 1e-4}, "exact draws pass SBC"),
            ("empirical", "exact", {"coverage": 0.87}, "exact draws cover")]:
        status, text, table = run(folder, {prior: {sampler: change}}, "--quick", "--priors", prior)
        expect(status == 1 and any(word in check for check in missed(table)), f"{prior} {sampler} {change}: {text}")
        expect(len(missed(table)) == (2 if change.get("error") else 1), f"no other check is missed: {missed(table)}")
    # beyond the limit, but within two standard errors of it
    status, text, table = run(folder, {"mixture": {best: {"tv": 0.069}}}, "--quick", "--priors", "mixture")
    expect(status == 0, f"within the tolerance: {text}")


def test_docs(folder):
    path = os.path.join(folder, "docs", "calibration.md")
    begin, end = "<!-- calibration: begin (written by tools/calibration_table) -->", "<!-- calibration: end -->"
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"before\n{begin}\nold\n{end}\nafter\n")
    old = open(path, encoding="utf-8").read()
    for words, reason in [(("--quick", "--checkpoint", "some"), "found --quick"),
                          (("--priors", "gaussian", "--checkpoint", "some"), "left out are mixture, "),
                          ((), "left out are network")]:
        status, text, table = run(folder, {}, *words, "--write-docs")
        expect(status == 1 and reason in text and table is None, f"{words}: {text}")
    expect(open(path, encoding="utf-8").read() == old, "tables that are not measured are kept")
    status, text, table = run(folder, {}, "--checkpoint", "some", "--write-docs")
    lines = open(path, encoding="utf-8").read().split("\n")
    expect(status == 0 and lines[:2] == ["before", begin] and lines[-3:] == [end, "after", ""], f"{text} {lines}")
    # nine samplers each, but exact draws of the network
    expect(len(table["tables"]) == 6 and "old" not in lines and
           sum(line.startswith(("| `", "| **`")) for line in lines) == 6 * 9 - 1, "the new tables are there")
    with open(path, "w", encoding="utf-8") as file:
        file.write("no markers\n")
    status, text, _ = run(folder, {}, "--checkpoint", "some", "--write-docs")
    expect(status == 1 and "expected the lines" in text, text)
    expect(open(path, encoding="utf-8").read() == "no markers\n", "nothing is overwritten")


def test_errors(folder):
    status, text, table = run(folder, {"fail": True}, "--quick")
    expect(status == 1 and "no such thing" in text and table is None, text)
    status, text, _ = run(folder, {}, "--priors", "gaussian,other")
    expect(status == 1 and "found other" in text, text)
    status, text, _ = run(folder, {}, "--priors", "network")
    expect(status == 1 and "network: left out" in text, text)


def main():
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(os.path.join(folder, "docs"))
        os.mkdir(os.path.join(folder, "tools"))
        shutil.copy(sys.argv[1], os.path.join(folder, "tools", "calibration_table"))
        with open(os.path.join(folder, "program"), "w", encoding="utf-8") as file:
            file.write(STAND_IN)
        os.chmod(os.path.join(folder, "program"), 0o755)
        for test in (test_good, test_missed, test_docs, test_errors):
            test(folder)
    print("FAILED" if failures else "ok")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
