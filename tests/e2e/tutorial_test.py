"""docs/TUTORIAL.md, command by command: each ```sh block is run in one shell beside a fresh quickstart, and what the page shows
behind it (```text) must stand in what it said: line by line, in order; … stands for anything.

    REEVE_BUILD=build/release REEVE_VERBOSE=1 /usr/bin/python3 tests/e2e/tutorial_test.py -v
"""
import os
import re
import selectors
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
from scene import Scene, say  # noqa: E402
from stack import ROOT  # noqa: E402

PAGE = os.path.join(ROOT, "docs", "TUTORIAL.md")
HOME_ON_PAGE = "/var/tmp/reeve-quickstart"
BLOCK_S = 60
PAUSE_S = 0.4  # a reader types more slowly than a snapshot travels


def blocks(text):
    """[(number of its line, commands, what the page shows or None)] in order."""
    found = []
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.S | re.M):
        line = text.count("\n", 0, match.start()) + 1
        if match.group(1) == "sh":
            found.append((line, match.group(2), None))
        elif match.group(1) == "text":
            number, commands, _ = found.pop()
            found.append((number, commands, match.group(2)))
    return found


def as_pattern(shown):
    """… stands for anything, runs of blanks are one."""
    parts = [re.escape(" ".join(part.split())) if part.strip() else "" for part in re.split("…", shown.strip())]
    return re.compile(r"\s?.*\s?".join(parts).replace(r"\ ", r"\s+"))


def missing_line(shown, said):
    """The first shown line that does not stand in what was said, after the ones before it; None when all do."""
    lines = [" ".join(line.split()) for line in said.splitlines()]
    at = 0
    for wanted in (line for line in shown.splitlines() if line.strip()):
        pattern = as_pattern(wanted)
        while at < len(lines) and not pattern.fullmatch(lines[at]):
            at += 1
        if at == len(lines):
            return wanted
        at += 1
    return None


class Shell:
    """One bash that remembers, block after block."""

    def __init__(self, stack):
        self.process = subprocess.Popen(["bash", "--norc", "--noprofile", "-eu", "-o", "pipefail"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=stack.home,
                                        env=stack.environment(), start_new_session=True, **stack.as_user())
        self.waiting = selectors.DefaultSelector()
        self.waiting.register(self.process.stdout, selectors.EVENT_READ)

    def run(self, commands):
        """Runs to the end of the block: (whether all went well, what was said)."""
        mark = f"--done-{time.monotonic_ns()}--"
        self.process.stdin.write(f"{{\n{commands}\n}} </dev/null\necho\necho {mark}\n".encode())
        self.process.stdin.flush()
        said, deadline = b"", time.monotonic() + BLOCK_S
        while mark.encode() not in said:
            if time.monotonic() > deadline or not self.waiting.select(timeout=deadline - time.monotonic()):
                return False, said.decode(errors="replace") + "\n(not done in time)"
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                return False, said.decode(errors="replace")
            said += data
        return True, said.decode(errors="replace").replace(mark, "")

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=5)
        self.process.stdout.close()
        self.waiting.close()


class Tutorial(Scene):
    def test_every_command_of_the_tutorial_does_what_the_page_says(self):
        with open(PAGE, encoding="utf-8") as file:
            steps = blocks(file.read())
        self.assertGreater(len(steps), 20)
        shell = Shell(self.stack)
        self.addCleanup(shell.close)
        for line, commands, shown in steps:
            ok, said = shell.run(commands.replace(HOME_ON_PAGE, self.stack.home))
            self.assertTrue(ok, f"docs/TUTORIAL.md line {line}: a command failed:\n{commands}\nsaid:\n{said}")
            missing = missing_line(shown or "", said)
            self.assertIsNone(missing, f"docs/TUTORIAL.md line {line}: this line was not said: {missing}\nafter:\n{commands}\nbut:\n{said}")
            say(f"line {line}: {commands.strip().splitlines()[0][:90]}")
            time.sleep(PAUSE_S)
        say(f"{len(steps)} blocks of the tutorial do what the page says")


class Reader(unittest.TestCase):
    """The comparison itself can fail."""

    def test_shown_lines_are_found_in_order_and_patterns_stand_for_anything(self):
        said = "NAME  ID\nmain  sec_123   active\nspare sec_456   active\n"
        self.assertIsNone(missing_line("NAME ID\nspare  sec_…  active\n", said))
        self.assertEqual("main  sec_…  revoked", missing_line("main  sec_…  revoked", said))
        self.assertEqual("main …", missing_line("spare …\nmain …", said))
        self.assertIsNone(missing_line("main …", "main\n"))

    def test_a_block_is_paired_with_what_is_shown_behind_it(self):
        self.assertEqual([(1, "a\n", "b\n"), (8, "c\n", None)], blocks("```sh\na\n```\n```text\nb\n```\n\n```sh\nc\n```\n"))


if __name__ == "__main__":
    unittest.main()
