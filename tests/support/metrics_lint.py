"""Checks a metrics page on standard input by the rules of `promtool check metrics`; says what is wrong and ends with 1."""
import re
import sys

SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (\S+)')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
TYPES = {"counter", "gauge", "histogram", "summary", "untyped"}
SUFFIXES = ("_bucket", "_count", "_sum")
UNITS = ("ms", "us", "ns", "milliseconds", "microseconds", "nanoseconds", "minutes", "hours", "days", "kb", "mb",
         "kib", "mib", "kilobytes", "megabytes", "percent", "sec", "secs")


class Family:
    def __init__(self, name):
        self.name, self.help, self.type, self.samples = name, None, None, []


def family_of(families, name):
    for suffix in SUFFIXES:
        base = name.removesuffix(suffix)
        if base != name and base in families and families[base].type in ("histogram", "summary"):
            return families[base]
    return families.setdefault(name, Family(name))


def read_comment(families, line, report):
    parts = line.split(" ", 3)
    if len(parts) < 4 or parts[1] not in ("HELP", "TYPE"):
        report(f"not a HELP or TYPE line with a text: {line}")
        return
    family = families.setdefault(parts[2], Family(parts[2]))
    key = parts[1].lower()
    if getattr(family, key) is not None:
        report(f"{family.name}: a second {parts[1]} line")
    if family.samples:
        report(f"{family.name}: {parts[1]} after its samples")
    setattr(family, key, parts[3])


def read_sample(families, line, seen, report):
    match = SAMPLE.fullmatch(line)
    if match is None:
        report(f"not a sample: {line}")
        return None
    name, labels, value = match.group(1), tuple(sorted(LABEL.findall(match.group(2) or ""))), match.group(3)
    try:
        number = float(value)
    except ValueError:
        report(f"{name}: {value} is not a number")
        return None
    if (name, labels) in seen:
        report(f"{name}{dict(labels)}: twice")
    if len(labels) != len({label for label, _ in labels}):
        report(f"{name}: a label twice")
    seen.add((name, labels))
    family = family_of(families, name)
    family.samples.append((name, dict(labels), number))
    return family


def check_name(family, report):
    name, words = family.name, family.name.split("_")
    if name.lower() != name:
        report(f"{name}: not in snake_case")
    if (family.type == "counter") != name.endswith("_total"):
        report(f"{name}: counters, and nothing else, end in _total")
    if family.type not in ("histogram", "summary") and name.endswith(SUFFIXES):
        report(f"{name}: ends as only parts of histograms do")
    for word in words:
        if word in UNITS:
            report(f"{name}: {word} is not a base unit")
        if word in TYPES:
            report(f"{name}: a type in its name")


def check_labels(family, report):
    for name, labels, _ in family.samples:
        for label in labels:
            if label.lower() != label or label.startswith("__"):
                report(f"{name}: the label {label}")
            if label in ("le", "quantile") and family.type not in ("histogram", "summary"):
                report(f"{name}: the label {label} is reserved")


def check_histogram(family, report):
    series = {}
    for name, labels, value in family.samples:
        key = tuple(sorted(item for item in labels.items() if item[0] != "le"))
        one = series.setdefault(key, {"buckets": []})
        if name.endswith("_bucket"):
            one["buckets"].append((float(labels.get("le", "nan")), value))
        else:
            one[name[len(family.name):]] = value
    for key, one in series.items():
        bounds, counts = [b for b, _ in one["buckets"]], [c for _, c in one["buckets"]]
        if bounds != sorted(set(bounds)) or not bounds or bounds[-1] != float("inf"):
            report(f"{family.name}{dict(key)}: bounds do not rise to +Inf")
        if counts != sorted(counts) or not counts or counts[-1] != one.get("_count") or "_sum" not in one:
            report(f"{family.name}{dict(key)}: buckets, count and sum do not fit")


def check(text):
    problems, families, seen, last, done = [], {}, set(), None, set()
    report = problems.append
    if not text.endswith("\n"):
        report("the last line does not end")
    for line in text.splitlines():
        if line.startswith("#"):
            read_comment(families, line, report)
        elif line:
            family = read_sample(families, line, seen, report)
            if family is not None and family is not last:
                if family.name in done:
                    report(f"{family.name}: its samples are not together")
                done.add(family.name)
                last = family
    for family in families.values():
        if not family.help:
            report(f"{family.name}: no help")
        if family.type not in TYPES:
            report(f"{family.name}: no type")
        check_name(family, report)
        check_labels(family, report)
        if family.type == "histogram" and family.samples:
            check_histogram(family, report)
    return problems


def main():
    problems = check(sys.stdin.read())
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
