#!/usr/bin/python3
"""The habits of this house, checked by a machine. Standard library only; clang-format and gcc where a check needs them.

    style.py CHECK...      run these checks on the tree (all without arguments); exit 1 on a violation
    style.py --self-test   plant violations in a scratch tree and see that each check finds exactly them
    style.py --list        names and purposes

A line that must break a rule says so on itself or on the line before: /* allow NAME: why it is safe */
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


# --- reading the tree ----------------------------------------------------------------------------------------------

class Source:
    """A C file with its comments and strings told apart from its code; all three keep their line numbers."""

    TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)

    def __init__(self, path, text):
        self.path, self.text, self.strings, self.comments = path, text, [], []
        self.code = self.TOKEN.sub(self._set_aside, text)

    def _set_aside(self, match):
        token, line = match.group(), self.text.count("\n", 0, match.start()) + 1
        if token.startswith('"'):
            self.strings.append((line, token[1:-1]))
        elif token.startswith("/"):
            self.comments.append((line, token))
        return re.sub(r"[^\n]", " ", token)

    def line_of(self, offset):
        return self.text.count("\n", 0, offset) + 1

    def allows(self, name, line):
        lines = self.text.split("\n")
        around = "\n".join(lines[max(0, line - 2):line])
        return re.search(r"/\* allow %s: \w[^*]*\*/" % re.escape(name), around) is not None

    def includes(self):
        for match in re.finditer(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">\n]+)[">]', self.text, re.M):
            yield self.line_of(match.start()), match.group(2), match.group(1) == "<"


class Tree:
    """The files under a root, read once."""

    SKIPPED = {".git", "build", "node_modules", "__pycache__", ".reeve", "corpus"}

    def __init__(self, root, build=None):
        self.root, self.build = root, build
        self.paths = sorted(self._walk())
        self.sources = {path: Source(path, self.read(path)) for path in self.paths if path.endswith((".c", ".h"))}

    def _walk(self):
        for folder, folders, files in os.walk(self.root):
            folders[:] = [name for name in folders if name not in self.SKIPPED]
            for name in files:
                yield os.path.relpath(os.path.join(folder, name), self.root)

    def read(self, path):
        with open(os.path.join(self.root, path), encoding="utf-8", errors="replace") as file:
            return file.read()

    def c_files(self, *folders):
        return [source for path, source in self.sources.items() if path.startswith(folders)]


# --- the checks: each yields (path, line, sentence) -----------------------------------------------------------------

def check_format(tree):
    """Every C file is as clang-format makes it."""
    files = [path for path in tree.sources if path.startswith(("src/", "include/", "tests/"))]
    for start in range(0, len(files), 100):
        done = subprocess.run(["clang-format", "--dry-run", "-Werror", *files[start:start + 100]], cwd=tree.root,
                              stderr=subprocess.PIPE, text=True, check=False)
        found = set(re.findall(r"^(\S+?):(\d+):\d+: error: code should be clang-formatted", done.stderr, re.M))
        for path in sorted({path for path, _ in found}):
            lines = sorted(int(line) for each, line in found if each == path)
            yield path, lines[0], f"is not formatted ({len(lines)} places); run clang-format -i {path}"
        if done.returncode and not found:
            yield "(clang-format)", 0, done.stderr.strip() or "failed"


NEVER = ("strcpy strcat strncpy strncat sprintf vsprintf strtok atoi gets gmtime localtime rand system popen "
         "alloca").split()
ONLY_IN_BASE = "malloc calloc realloc free".split()


def calls(source, names):
    for match in re.finditer(r"(?<![\w.>])(%s)\s*\(" % "|".join(names), source.code):
        line = source.line_of(match.start())
        if not source.allows(match.group(1), line):
            yield line, match.group(1)


def check_banned(tree):
    """Functions that invite mistakes are not called; memory comes from arenas outside src/base and tests."""
    for source in tree.c_files("src/", "include/", "tests/"):
        for line, name in calls(source, NEVER):
            yield source.path, line, f"{name} is banned"
        if source.path.startswith(("src/base/", "tests/")):
            continue
        for line, name in calls(source, ONLY_IN_BASE):
            yield source.path, line, f"bare {name}; use an arena, or a type that owns its memory"


class Floors:
    """The table of floors as CMakeLists.txt has it: which folder is which floor, and what it may use."""

    def __init__(self, tree):
        self.folders, self.direct = {}, {}
        text = re.sub(r"#[^\n]*", "", tree.read("CMakeLists.txt"))
        for name, folder, rest in re.findall(r"^reeve_floor\((\w+)\s+([\w/]+)([^)]*)\)", text, re.M):
            self.folders[folder] = name
            self.direct[name] = re.findall(r"\breeve_(\w+)", rest)
        self.direct["sql"] = ["base"]
        self.generated = set(re.findall(r"\$\{generated\}/(\S+\.h)", text))
        self.programs = {f"src/programs/{source}": re.findall(r"\breeve_(\w+)", rest)
                         for source, rest in re.findall(r"^reeve_program\([\w-]+\s+(\S+)([^)]*)\)", text, re.M)}
        self.nouns = {}
        for path in tree.sources:
            if path.startswith("src/"):
                folder, name = os.path.split(path[4:])
                self.nouns.setdefault(name[:-2], []).append(folder)

    def below(self, name):
        """The floor itself and everything it may use."""
        seen, waiting = set(), [name]
        while waiting:
            floor = waiting.pop()
            if floor not in seen:
                seen.add(floor)
                waiting += self.direct.get(floor, [])
        return seen

    def of_header(self, header):
        """The floor of include/<floor>/<noun>.h. Floors in sub-folders (snapshot/wire) share one include folder: there
        the sub-folder of that name or the source of the same noun decides; another header belongs to the lowest."""
        folder, name = os.path.split(header)
        folder = "libreeve" if folder == "reeve" else folder
        if header == "store/sql.h":
            return "sql"
        mine = {each: floor for each, floor in self.folders.items() if each == folder or each.startswith(folder + "/")}
        for each in [f"{folder}/{name[:-2]}", *self.nouns.get(name[:-2], [])]:
            if each in mine:
                return mine[each]
        return min(mine.values(), key=lambda floor: len(self.below(floor)), default=None)

    def allowed(self, path):
        """The floors a file may include from; None when it stands outside the table (tests)."""
        if path in self.programs:
            return set().union(*(self.below(floor) for floor in self.programs[path]))
        if path.startswith("include/"):
            floor = self.of_header(path[8:])
        else:
            floor = self.folders.get(os.path.dirname(path)[4:])
        if path.startswith("src/tools/"):
            floor = "base"
        return self.below(floor) if floor else None


HOMES = (("sodium", "src/crypto/"), ("openssl/", "src/crypto/"), ("libpq-fe.h", "src/store/"),
         ("libpq-events.h", "src/store/"), ("microhttpd.h", "src/http/"), ("curl/", "src/http/"),
         ("gnutls/", "src/http/"), ("seccomp.h", "src/keeper/"))


def check_floors(tree):
    """Includes point downward only, as the table of floors says; a private library's header stays in its one home."""
    floors = Floors(tree)
    for source in tree.c_files("src/", "include/"):
        allowed = floors.allowed(source.path)
        if allowed is None:
            yield source.path, 1, "belongs to no floor of CMakeLists.txt"
            continue
        for line, header, _ in source.includes():
            for prefix, home in HOMES:
                if header.startswith(prefix) and not source.path.startswith(home):
                    yield source.path, line, f"<{header}> belongs to {home} alone"
            if os.path.exists(os.path.join(tree.root, "include", header)) or header in floors.generated:
                floor = floors.of_header(header)
                if floor not in allowed:
                    yield source.path, line, f'"{header}" is of floor {floor}, which this floor may not use'
            elif header.startswith(".."):
                yield source.path, line, f'"{header}" reaches into another folder; include by floor'


def library_folders():
    """Where pkg-config says the libraries' headers are, for those that are not in the usual place."""
    done = subprocess.run(["pkg-config", "--cflags-only-I", "libpq", "libsodium", "libmicrohttpd", "gnutls"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    return done.stdout.split()


def check_headers(tree):
    """Every header compiles alone."""
    places = ["-Iinclude", "-Itests", *library_folders()] + ([f"-I{tree.build}/generated"] if tree.build else [])
    generated = Floors(tree).generated
    for source in tree.c_files("src/", "include/", "tests/"):
        if not source.path.endswith(".h"):
            continue
        done = subprocess.run(["gcc", "-std=gnu17", "-D_GNU_SOURCE", '-DREEVE_VERSION=""', "-DREEVE_SANITIZED=0", "-Wall",
                               "-Wextra", "-Werror", "-fsyntax-only", *places, f"-I{os.path.dirname(source.path)}", "-x", "c",
                               "-include", source.path, "/dev/null"], cwd=tree.root, stderr=subprocess.PIPE, text=True, check=False)
        missing = re.search(r"fatal error: (\S+): No such file", done.stderr)
        if missing and missing.group(1) in generated:
            print(f"skipped {source.path}: {missing.group(1)} is made by the build")
        elif done.returncode:
            first = re.search(r"^.*error: .*$", done.stderr, re.M)
            yield source.path, 1, "does not compile alone: " + (first.group() if first else done.stderr.strip())


def check_words(tree):
    """No unfinished business is left in the tree."""
    unfinished = re.compile(r"\b(%s)\b" % "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")))
    for path in tree.paths:
        if not re.search(r"(\.(c|h|sql|py|sh|md|js|jsx|ts|css|html|yaml|yml|txt|json)|/[a-z-]+)$", "/" + path):
            continue
        for number, text in enumerate(tree.read(path).split("\n"), 1):
            match = unfinished.search(text)
            if match:
                yield path, number, f"{match.group()} is unfinished business; finish it or open an issue"


def check_secrets(tree):
    """Where secrets are at home, bytes are compared in constant time, or it is said why they need not be."""
    homes = ("src/crypto/", "src/keeper/", "src/kms/", "include/crypto/", "include/keeper/", "include/kms/")
    for source in tree.c_files(*homes):
        for line, name in calls(source, ["memcmp", "bcmp"]):
            yield source.path, line, f"{name}: compare in constant time, or add /* allow {name}: why these are public */"


def check_sql(tree):
    """Statements stand in sql/, never in C."""
    statement = re.compile(r"^\s*select\s|\bselect\s.+\sfrom\s|\binsert\s+into\b|\bdelete\s+from\b|\bupdate\s+[\w.]+\s+set\b|"
                           r"\b(create|alter|drop)\s+(table|index|schema|role|policy)\b", re.I)
    for source in tree.c_files("src/", "include/"):
        if source.path.startswith(("src/store/", "src/tools/")):
            continue
        for line, text in source.strings:
            if statement.search(text) and not source.allows("sql", line):
                yield source.path, line, f'SQL in a string: "{text[:40]}"; name it in sql/'


CHECKS = {"format": check_format, "banned": check_banned, "floors": check_floors, "headers": check_headers,
          "words": check_words, "secrets": check_secrets, "sql": check_sql}


# --- proving the checks ----------------------------------------------------------------------------------------------

TABLE = """  OUTPUT ${generated}/store/sql.h
reeve_floor(base base PkgConfig::jansson)
reeve_floor(crypto crypto reeve_base)
reeve_floor(http http reeve_base)
reeve_floor(snapshot_wire snapshot/wire reeve_crypto)
reeve_floor(snapshot_pull snapshot/pull reeve_snapshot_wire reeve_http)
reeve_floor(kms kms reeve_crypto reeve_http)
reeve_floor(store store reeve_crypto reeve_sql)
reeve_program(reeved main.c reeve_store)
"""
HEADER = "#ifndef %s_H\n#define %s_H\nint %s(void);\n#endif\n"
GOOD = {
    "CMakeLists.txt": TABLE,
    ".clang-format": "BasedOnStyle: LLVM\nIndentWidth: 4\n",
    **{f"include/{path}.h": HEADER % ((path.replace("/", "_").upper(),) * 2 + (path.replace("/", "_"),))
       for path in ("base/text", "crypto/seal", "http/client", "snapshot/manifest", "snapshot/fetch", "store/row")},
    "src/snapshot/wire/manifest.c": '#include "snapshot/manifest.h"\n#include "crypto/seal.h"\n#include "base/text.h"\n',
    "src/snapshot/pull/fetch.c": '#include "http/client.h"\n#include "snapshot/fetch.h"\n#include "snapshot/manifest.h"\n',
    "src/crypto/seal.c": '#include "crypto/seal.h"\n#include <openssl/evp.h>\n#include <sodium.h>\n',
    "src/base/text.c": '#include "base/text.h"\n#include <stdlib.h>\nvoid *f(void) { return malloc(1); }\n',
    "src/http/client.c": '#include "http/client.h"\nint f(S *s) { return s->free(s) + list.system(1); }\n'
                         'const char *why = "never call strcpy(a, b)"; /* nor sprintf() */\n',
    "src/store/row.c": '#include "store/row.h"\n#include "store/sql.h"\n#include <libpq-fe.h>\n'
                       'const char *q = "select 1";\n',
    "src/programs/main.c": '#include "base/text.h"\n#include "store/row.h"\n',
    "tests/unit/a_test.c": '#include <stdlib.h>\nvoid f(void *p) { free(p); }\nconst char *q = "select 1 from t";\n',
}

# check: list of (files to plant, path expected, line expected) and, with None, files that must pass.
PLANTED = {
    "format": [({"src/http/ugly.c": "int  f( void )\n{return 1;}\n"}, "src/http/ugly.c", 1)],
    "banned": [({"src/http/bad.c": "void f(char *a)\n{\n    %s(a);\n}\n" % name}, "src/http/bad.c", 3)
               for name in NEVER + ONLY_IN_BASE]
              + [({"tests/bad.c": "void f(char *a)\n{\n    strcpy (a, a);\n}\n"}, "tests/bad.c", 3),
                 ({"src/http/bad.c": "/* allow free: x */\n\nvoid f(char *a) { free(a); }\n"}, "src/http/bad.c", 3),
                 ({"src/http/good.c": "/* allow free: the library allocated it */\nvoid f(char *a) { free(a); }\n"}, None, 0)],
    "floors": [({"src/base/up.c": '#include "crypto/seal.h"\n'}, "src/base/up.c", 1),
               ({"src/http/side.c": '\n#include "crypto/seal.h"\n'}, "src/http/side.c", 2),
               ({"include/crypto/up.h": '#include "http/client.h"\n'}, "include/crypto/up.h", 1),
               ({"src/snapshot/wire/up.c": '#include "snapshot/fetch.h"\n'}, "src/snapshot/wire/up.c", 1),
               ({"src/kms/up.c": '#include "snapshot/manifest.h"\n'}, "src/kms/up.c", 1),
               ({"src/crypto/up.c": '#include "store/sql.h"\n'}, "src/crypto/up.c", 1),
               ({"src/programs/main.c": '#include "http/client.h"\n'}, "src/programs/main.c", 1),
               ({"src/nowhere/x.c": "int x;\n"}, "src/nowhere/x.c", 1),
               ({"src/http/reach.c": '#include "../crypto/inner.h"\n'}, "src/http/reach.c", 1)]
              + [({"src/base/lib.c": f"#include <{header}>\n"}, "src/base/lib.c", 1)
                 for header in ("sodium.h", "openssl/evp.h", "libpq-fe.h", "microhttpd.h", "curl/curl.h", "gnutls/gnutls.h")],
    "headers": [({"include/base/late.h": "Unknown *late(void);\n"}, "include/base/late.h", 1),
                ({"src/http/inner.h": '#include "missing.h"\n'}, "src/http/inner.h", 1),
                ({"include/store/made.h": '#include "store/sql.h"\n'}, None, 0)],
    "words": [({"src/base/later.c": "/* %s: later */\n" % word}, "src/base/later.c", 1)
              for word in ("TO" + "DO", "FIX" + "ME")]
             + [({"sql/x.sql": "-- TO" + "DO\n"}, "sql/x.sql", 1), ({"scripts/run": "# FIX" + "ME\n"}, "scripts/run", 1)],
    "secrets": [({"src/crypto/cmp.c": "int f(char *a) { return memcmp(a, a, 1); }\n"}, "src/crypto/cmp.c", 1),
                ({"src/kms/cmp.c": "int f(char *a) { return bcmp(a, a, 1); }\n"}, "src/kms/cmp.c", 1),
                ({"src/crypto/cmp.c": "int f(char *a) { return sodium_memcmp(a, a, 1); }\n"}, None, 0),
                ({"src/crypto/cmp.c": "int f(char *a) { return memcmp(a, a, 1); /* allow memcmp: both public */ }\n"}, None, 0),
                ({"src/base/cmp.c": "int f(char *a) { return memcmp(a, a, 1); }\n"}, None, 0)],
    "sql": [({"src/http/q.c": f'\nconst char *q = "{text}";\n'}, "src/http/q.c", 2)
            for text in ("select id", "INSERT INTO t", "delete from t", "update t set a = 1", "  with x; select a from b",
                         "drop table t")]
           + [({"src/http/q.c": '/* "select 1" */ const char *q = "please select one";\n'}, None, 0)],
}


def plant(root, files):
    for path, text in files.items():
        path = os.path.join(root, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


def findings_after(name, planted):
    """What the check says of the good tree with these files planted; only formatting is of no concern to the others."""
    with tempfile.TemporaryDirectory(prefix="reeve-style-") as root:
        plant(root, GOOD)
        if name == "format":
            subprocess.run(["clang-format", "-i", *[path for path in GOOD if path.endswith((".c", ".h"))]], cwd=root, check=True)
        plant(root, planted)
        return [(path, line) for path, line, _ in CHECKS[name](Tree(root))]


def self_test():
    failed = 0
    for name in CHECKS:
        cases = [({}, None, 0)] + PLANTED[name]
        for planted, path, line in cases:
            expected = [(path, line)] if path else []
            found = findings_after(name, planted)
            if found != expected:
                failed += 1
                print(f"{name}: planted {planted}\n  expected {expected}\n  found    {found}")
        print(f"{name}: {len(cases)} planted trees")
    return 1 if failed else 0


# --- the command ---------------------------------------------------------------------------------------------------------

def run(names, tree):
    violations = 0
    for name in names:
        for path, line, sentence in CHECKS[name](tree):
            print(f"{path}:{line}: {sentence}")
            violations += 1
    if violations:
        print(f"{violations} violations")
    return 1 if violations else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=", ".join(CHECKS))
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--root", default=ROOT)
    parser.add_argument("--build", help="build directory, for generated headers")
    options = parser.parse_args()
    for name in options.checks:
        if name not in CHECKS:
            parser.error(f"no check {name}; there are {', '.join(CHECKS)}")
    for tool in ("clang-format", "gcc", "pkg-config"):
        if not shutil.which(tool):
            print(f"{tool} is missing; run scripts/install-deps", file=sys.stderr)
            return 69
    if options.list:
        for name, check in CHECKS.items():
            print(f"{name:8} {check.__doc__}")
        return 0
    if options.self_test:
        return self_test()
    return run(options.checks or CHECKS, Tree(options.root, options.build))


if __name__ == "__main__":
    sys.exit(main())
