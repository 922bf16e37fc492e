"""The manners of the command line: exit codes, forms of output, help, completions, the manual, secrets that stay out of sight.

    REEVE_BUILD=build/release /usr/bin/python3 tests/e2e/cli_test.py -v

The first part talks to a pretended control plane, so that every answer can be had at will; the last to a real one.
"""
import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
import yaml  # noqa: E402
from pretend import Pretend  # noqa: E402
from scene import Scene, say  # noqa: E402
from stack import free_port  # noqa: E402

BUILD = os.path.abspath(os.environ.get("REEVE_BUILD", os.path.join(ROOT, "build", "dev")))
REEVE = os.path.join(BUILD, "bin", "reeve")
TOKEN = "rv_svc_" + "T" * 40
PROJECTS = [{"id": "prj_1", "name": "search", "description": "a, b", "created_at": "2026-01-01T00:00:00Z"},
            {"id": "prj_2", "name": "support", "description": None, "created_at": "2026-01-02T00:00:00Z"}]


def commands_of(script):
    """Every command's words, from the completion script, which is made of the same table."""
    return [line for line in re.search(r"_reeve_commands='(.*?)'", script, re.S).group(1).splitlines() if line]


class Case(unittest.TestCase):
    def setUp(self):
        self.home = tempfile.mkdtemp(prefix="reeve-cli-")
        self.addCleanup(shutil.rmtree, self.home)
        self.token_file = os.path.join(self.home, "token")
        with open(os.open(self.token_file, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as file:
            file.write(TOKEN + "\n")

    def environment(self, **more):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("REEVE_")}
        return {**kept, "HOME": self.home, "XDG_CONFIG_HOME": self.home, **more}

    def reeve(self, *words, data=None, **more):
        return subprocess.run([REEVE, *words], input=data, capture_output=True, text=True, timeout=30, check=False,
                              env=self.environment(**more), stdin=subprocess.DEVNULL if data is None else None)

    def expect(self, code, *words, **more):
        result = self.reeve(*words, **more)
        self.assertEqual(code, result.returncode, f"{words}: {result.stderr}")
        return result


class Words(Case):
    """Help, mistakes, completions, the manual: nothing that needs a control plane."""

    def commands(self):
        return commands_of(self.expect(0, "completion", "bash").stdout)

    def test_every_command_has_help_with_its_usage_and_the_exit_codes(self):
        commands = self.commands()
        self.assertGreater(len(commands), 50)
        for words in commands:
            text = self.expect(0, "help", *words.split()).stdout
            self.assertTrue(text.startswith(f"usage: reeve {words}"), text)
            self.assertIn("exit codes: 0 done", text)
            self.assertEqual(text, self.expect(0, *words.split(), "--help").stdout)
            self.assertNotIn("  [OPTIONS]", text)

    def test_the_overview_names_every_noun_and_each_noun_lists_its_commands(self):
        overview = self.expect(0, "help").stdout
        for words in self.commands():
            noun = words.split()[0]
            self.assertIn(f"\n  {noun} ", overview)
            if " " in words:
                self.assertIn(f"reeve {words}", self.expect(0, "help", noun).stdout)
        self.assertIn("join-token", overview)
        self.assertEqual(overview, self.expect(0, "--help").stdout)

    def test_a_mistyped_command_is_refused_and_the_nearest_is_named(self):
        for typed, meant in (("secrt list", "secret list"), ("secret rotat openai", "secret rotate"),
                             ("worklow switch", "workflow switch"), ("projct", "project"), ("help projct", "project")):
            result = self.expect(64, *typed.split())
            self.assertIn("there is no command", result.stderr)
            self.assertIn(f"Did you mean: reeve {meant}", result.stderr)
            self.assertEqual("", result.stdout)
        self.assertNotIn("Did you mean", self.expect(64, "frobnicate").stderr)

    def test_wrong_usage_says_what_is_missing_and_ends_with_64(self):
        where = ("--url", "http://127.0.0.1:1")
        for words, said in (((), "usage: reeve NOUN VERB"), (("secret",), "commands of secret"),
                            (("project", "create"), "usage: reeve project create NAME"),
                            (("project", "create", "a", "b"), "usage: reeve project create NAME"),
                            (("project", "list", "--frob"), "--frob"), (("project", "list", "-o", "xml"), "--output is"),
                            (("connection", "create", "c", "-p", "x", *where), "--dialect is required"),
                            (("project", "list"), "where is the control plane?"),
                            (("secret", "list", *where), "which project?"),
                            (("project", "list", "--context", "nope"), "no context named nope"),
                            (("project", "delete", "search", *where), "--yes"),
                            (("completion", "tcsh"), "bash, zsh and fish")):
            result = self.expect(64, *words)
            self.assertIn(said, result.stderr, words)

    def test_options_may_stand_before_the_words_too(self):
        result = self.expect(69, "-o", "json", "--url", f"http://127.0.0.1:{free_port()}", "project", "list")
        self.assertIn("could not reach", result.stderr)

    def test_completions_source_cleanly_in_bash_and_complete_nouns_and_verbs(self):
        script = self.expect(0, "completion", "bash").stdout
        probe = script + """
complete_line() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _reeve; echo "${COMPREPLY[*]}"; }
complete_line reeve sec
complete_line reeve secret ro
complete_line reeve secret versions ''
complete_line reeve nothing ''
"""
        result = subprocess.run(["bash", "--norc", "-u"], input=probe, capture_output=True, text=True, timeout=30, check=False)
        self.assertEqual((0, ""), (result.returncode, result.stderr))
        self.assertEqual(["secret", "rotate", "list", ""], result.stdout.splitlines())
        for shell in ("zsh", "fish"):
            self.assertIn("reeve", self.expect(0, "completion", shell).stdout)

    def test_the_manual_passes_mandoc_and_names_every_command(self):
        text = self.expect(0, "manual").stdout
        for words in self.commands():
            self.assertIn(f".SS reeve {words}".replace("-", "\\-"), text)
        if not shutil.which("mandoc"):
            self.skipTest("mandoc is not installed (scripts/install-deps)")
        result = subprocess.run(["mandoc", "-T", "lint", "-W", "style"], input=text, capture_output=True, text=True,
                                timeout=30, check=False)
        self.assertEqual((0, ""), (result.returncode, result.stdout + result.stderr))

    def test_every_program_says_its_version_and_how_it_is_used(self):
        for name in ("reeve", "reeved", "reeve-keeper", "reeve-gateway"):
            for option, said in (("--version", rf"^{name} \d+\.\d+\.\d+\n$"), ("--help", "(?i)^(usage|reeve): ")):
                result = subprocess.run([os.path.join(BUILD, "bin", name), option], capture_output=True, text=True, timeout=30, check=False)
                self.assertEqual(0, result.returncode, (name, option, result.stderr))
                self.assertRegex(result.stdout, said)


class Calls(Case):
    """What the admin API's answers become."""

    def setUp(self):
        super().setUp()
        self.server = Pretend()
        self.server.__enter__()
        self.addCleanup(self.server.__exit__)
        self.server.answer("GET", "/v1/projects", 200, {"data": PROJECTS, "next_page_token": None})
        self.server.answer("GET", "/v1/projects/search", 200, PROJECTS[0], etag='"7"')

    def call(self, code, *words, **more):
        end = words.index("--") if "--" in words else len(words)
        where = ("--url", self.server.url, "--token-file", self.token_file)
        return self.expect(code, *words[:end], *where, *words[end:], **more)

    def test_answers_become_exit_codes_and_sentences(self):
        for status, code, expected in ((401, "token-unknown", 77), (403, "action-forbidden", 77), (404, "not-found", 1),
                                       (409, "name-taken", 1), (412, "version-changed", 1), (429, "slow-down", 75),
                                       (503, "keeper-unavailable", 75), (500, "internal", 1)):
            self.server.problem("POST", "/v1/projects", status, code, detail="This is the sentence.")
            result = self.call(expected, "project", "create", "a")
            self.assertIn(f"This is the sentence. ({code}, request req_test)", result.stderr)
            self.assertEqual("", result.stdout)
        result = self.expect(69, "project", "list", "--url", f"http://127.0.0.1:{free_port()}")
        self.assertIn("could not reach", result.stderr)

    def test_every_bad_member_is_named(self):
        self.server.problem("POST", "/v1/projects", 422, "invalid", errors=[
            {"pointer": "/name", "detail": "must not be empty"}, {"pointer": "/description", "detail": "is too long"}])
        said = self.call(1, "project", "create", "a").stderr
        self.assertIn("name: must not be empty", said)
        self.assertIn("description: is too long", said)

    def test_a_failing_post_is_tried_again_with_the_same_idempotency_key(self):
        self.server.problem("POST", "/v1/projects", 503, "keeper-unavailable")
        self.call(75, "project", "create", "a")
        keys = {asked.headers["idempotency-key"] for asked in self.server.asked}
        self.assertEqual((4, 1), (len(self.server.asked), len(keys)))

    def test_a_list_is_followed_page_by_page(self):
        self.server.answer("GET", "/v1/projects", 200, {"data": PROJECTS[:1], "next_page_token": "a b"})
        self.server.answer("GET", "/v1/projects?page_token=a%20b", 200, {"data": PROJECTS[1:], "next_page_token": None})
        names = [row["name"] for row in json.loads(self.call(0, "project", "list", "-o", "json").stdout)]
        self.assertEqual(["search", "support"], names)

    def test_each_form_of_output_says_the_same(self):
        self.assertEqual(PROJECTS, json.loads(self.call(0, "project", "list", "-o", "json").stdout))
        self.assertEqual(PROJECTS, yaml.safe_load(re.sub(r"(\d{4}-\S+Z)", r"'\1'",
                                                         self.call(0, "project", "list", "-o", "yaml").stdout.replace('"', ""))))
        lines = self.call(0, "project", "list", "-o", "jsonl").stdout.splitlines()
        self.assertEqual(PROJECTS, [json.loads(line) for line in lines])
        rows = list(csv.DictReader(io.StringIO(self.call(0, "project", "list", "-o", "csv", "--columns", "name,description").stdout)))
        self.assertEqual([{"name": "search", "description": "a, b"}, {"name": "support", "description": ""}], rows)
        table = self.call(0, "project", "list", "--columns", "name,id").stdout
        self.assertEqual(["NAME     ID", "search   prj_1", "support  prj_2"], table.splitlines())

    def test_a_formula_in_a_csv_cell_is_disarmed_and_control_characters_never_reach_the_terminal(self):
        evil = [{"id": "prj_1", "name": "=HYPERLINK(1)", "description": "\x1b[31mred\n", "created_at": None}]
        self.server.answer("GET", "/v1/projects", 200, {"data": evil, "next_page_token": None})
        self.assertIn("\"'=HYPERLINK(1)\"", self.call(0, "project", "list", "-o", "csv").stdout)
        self.assertNotIn("\x1b", self.call(0, "project", "list").stdout)

    def test_no_colour_without_a_terminal_and_none_with_no_color(self):
        self.assertNotIn("\x1b", self.call(0, "project", "list").stdout)
        script = f"{REEVE} project list --url {self.server.url} --token-file {self.token_file}"
        for more, coloured in (({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
            environment = self.environment(**more)
            if "NO_COLOR" not in more:
                environment.pop("NO_COLOR", None)
            out = subprocess.run(["script", "-qec", script, "/dev/null"], capture_output=True, timeout=30, check=True,
                                 env=environment, stdin=subprocess.DEVNULL).stdout
            self.assertEqual(coloured, b"\x1b[1m" in out, more)

    def test_dry_run_asks_the_server_what_would_change(self):
        self.server.answer("POST", "/v1/projects?dry_run=true", 200, {"name": "a"})
        self.call(0, "project", "create", "a", "--dry-run")
        self.assertEqual(["/v1/projects?dry_run=true"], [asked.path for asked in self.server.asked])

    def test_curl_prints_the_call_and_no_token_and_makes_none(self):
        out = self.call(0, "project", "create", "a'b", "--description", "x y", "--curl").stdout
        self.assertEqual([], self.server.asked)
        self.assertNotIn(TOKEN, out)
        self.server.answer("POST", "/v1/projects", 201, PROJECTS[0])
        done = subprocess.run(["bash", "-euc", out], env={**self.environment(), "REEVE_TOKEN_FILE": self.token_file},
                              capture_output=True, text=True, timeout=30, check=False)
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertEqual({"name": "a'b", "description": "x y"}, self.server.asked[-1].json)
        self.assertEqual(f"Bearer {TOKEN}", self.server.asked[-1].headers["authorization"])

    def test_a_change_sends_the_etag_that_was_read(self):
        self.server.answer("PATCH", "/v1/projects/search", 200, PROJECTS[0])
        self.call(0, "project", "update", "search", "--description", "new")
        self.assertEqual('"7"', self.server.asked[-1].headers["if-match"])
        self.assertEqual({"description": "new"}, self.server.asked[-1].json)

    def test_a_destructive_command_asks_first_and_yes_answers(self):
        self.server.answer("DELETE", "/v1/projects/search", 204)
        self.call(64, "project", "delete", "search")
        self.assertEqual([], self.server.asked)
        self.call(0, "project", "delete", "search", "--yes")
        self.assertEqual("DELETE", self.server.asked[-1].method)

    def test_arguments_cannot_leave_their_place_in_the_path(self):
        self.call(1, "project", "get", "../../organizations?x=1#y")
        self.assertEqual("/v1/projects/..%2F..%2Forganizations%3Fx%3D1%23y", self.server.asked[-1].path)

    def test_the_token_is_never_in_argv_nor_in_what_is_said(self):
        for words in (("project", "list", "-o", "json"), ("whoami",), ("doctor",)):
            result = self.reeve(*words, "--url", self.server.url, "--token-file", self.token_file)
            self.assertNotIn(TOKEN, result.stdout + result.stderr)

    def test_a_token_file_that_is_missing_or_open_to_others_is_named(self):
        missing = os.path.join(self.home, "none")
        self.assertIn(missing, self.expect(1, "project", "list", "--url", self.server.url, "--token-file", missing).stderr)
        os.chmod(self.token_file, 0o644)
        self.assertIn(f"chmod 600 {self.token_file}", self.call(1, "project", "list").stderr)
        self.assertEqual([], self.server.asked)

    def test_flags_win_over_the_environment_which_wins_over_the_context(self):
        self.expect(0, "context", "add", "one", "--url", "http://127.0.0.1:1", "--token-file", self.token_file, "-p", "search")
        self.expect(69, "project", "list")
        self.expect(0, "project", "list", REEVE_URL=self.server.url)
        self.expect(69, "project", "list", "--url", "http://127.0.0.1:1", REEVE_URL=self.server.url)
        row = json.loads(self.expect(0, "context", "list", "-o", "json").stdout)[0]
        self.assertEqual(("one", True, "search", self.token_file),
                         (row["name"], row["current"], row["project"], row["token_file"]))
        self.assertEqual(0o600, os.stat(os.path.join(self.home, "reeve", "contexts.yaml")).st_mode & 0o777)

    def test_run_gives_a_program_a_key_of_its_own_that_ends(self):
        self.server.answer("POST", "/v1/projects/search/client-keys", 201, {"id": "cky_1", "token": "rv_key_secret"})
        result = self.call(0, "run", "-p", "search", "--gateway", self.server.url, "--ttl", "5m", "--", "env")
        variables = dict(line.split("=", 1) for line in result.stdout.splitlines() if "=" in line)
        self.assertEqual((self.server.url + "/v1", "rv_key_secret"), (variables["OPENAI_BASE_URL"], variables["OPENAI_API_KEY"]))
        self.assertEqual((self.server.url, "rv_key_secret"),
                         (variables["ANTHROPIC_BASE_URL"], variables["ANTHROPIC_AUTH_TOKEN"]))
        self.assertEqual(("/v1/chat/completions", "Bearer rv_key_secret"),
                         (self.server.asked[-1].path, self.server.asked[-1].headers["authorization"]))
        self.assertRegex(self.server.asked[-2].json["expires_at"], r"^\d{4}-.*Z$")
        self.assertEqual(3, self.call(3, "run", "-p", "search", "--gateway", self.server.url, "--", "sh", "-c", "exit 3").returncode)
        self.call(127, "run", "-p", "search", "--gateway", self.server.url, "--", "no-such-program")

    def test_nothing_is_sealed_to_a_root_that_is_not_the_pinned_one(self):
        self.server.answer("GET", "/v1/projects/search", 200, PROJECTS[0])
        self.server.answer("GET", "/v1/organization", 200, {"id": "org_1", "name": "acme"})
        self.server.answer("GET", "/v1/intake-key", 200, {"root": "{}"})
        result = self.call(1, "secret", "create", "s", "-p", "search", "--origin", "https://api.example.com", "--from-file", "-",
                           "--root-hash", "A" * 43, data="sk-secret")
        self.assertIn("another root", result.stderr)
        self.assertEqual([], [asked for asked in self.server.asked if asked.method == "POST"])


# What the API offers to others than people, or to proofs that a later command will check.
WITHOUT_A_COMMAND = {
    "POST /v1/enrolments", "POST /v1/data-planes/token", "GET /v1/snapshot/manifest", "GET /v1/snapshot/root",
    "GET /v1/snapshot/keyring", "GET /v1/objects/{}", "POST /v1/snapshot/ack", "POST /v1/usage/events",
    "GET /healthz", "GET /readyz", "GET /metrics", "GET /openapi.json",
    "GET /v1/audit/inclusion", "GET /v1/audit/consistency", "POST /v1/fleets/{}/generations",
    "PUT /v1/fleets/{}/organizations/{}", "GET /v1/projects/{}/usage",
    # commands with a function of their own, which say no path in their help
    "GET /v1/usage", "GET /v1/usage/verify", "POST /v1/projects/{}/secrets", "POST /v1/projects/{}/secrets/{}/versions", "GET /v1/intake-key",
    "POST /v1/projects/{}/workflows/{}/revisions", "PUT /v1/projects/{}/workflows/{}/release",
    "GET /v1/projects/{}/workflows/{}/revisions/{}", "POST /v1/price-books/import",
}


def shape(method, path):
    return f"{method.upper()} {re.sub(r'{[^}]*}', '{}', path)}"


class Live(Scene):
    """The same command line beside a real installation."""

    def test_every_command_is_a_call_that_the_api_has_and_every_call_has_a_command(self):
        described = self.admin("GET", "/openapi.json").json
        offered = {shape(method, path) for path, methods in described["paths"].items() for method in methods
                   if method in ("get", "post", "put", "patch", "delete")}
        stood_for = set()
        for words in commands_of(self.owner("completion", "bash", as_json=False)):
            text = self.stack.reeve("help", *words.split(), as_json=False)
            found = re.search(r"^stands for: (\w+) (\S+)$", text, re.M)
            if found:
                stood_for.add(shape(*found.groups()))
        self.assertEqual(set(), stood_for - offered, "commands without a call")
        self.assertEqual(set(), offered - stood_for - WITHOUT_A_COMMAND, "calls without a command")
        say(f"{len(stood_for)} commands stand for calls that the API has")

    def test_the_columns_of_every_list_are_members_of_the_answer(self):
        fleet = self.stack.state["fleet"]
        operators = (("organization", "list"), ("fleet", "list"), ("fleet", "data-planes", "list", fleet),
                     ("fleet", "organizations", "list", fleet), ("price", "list"), ("price", "rates", "list", "cost"))
        owners = (("project", "list"), ("secret", "list"), ("secret", "versions", "list", "summarize-primary"),
                  ("connection", "list"), ("workflow", "list"), ("workflow", "revisions", "list", "summarize"),
                  ("key", "list"), ("service-account", "list"), ("token", "list"), ("binding", "list"), ("audit", "list"))
        for who, commands in ((self.operator, operators), (self.owner, owners)):
            for words in commands:
                rows = who(*words)
                self.assertNotEqual([], rows, words)
                header = who(*words, "-o", "csv", as_json=False).splitlines()[0].strip().split(",")
                for column in header:
                    value = rows[0]
                    for part in column.split("."):
                        self.assertIn(part, value, f"{words} shows the column {column}")
                        value = value[part]

    def test_exit_codes_of_a_real_control_plane(self):
        url = self.stack.url("reeved")
        wrong = self.stack.write("wrong.token", "rv_svc_" + "A" * 43 + "\n")
        for code, words in ((0, ("project", "list", "--context", "acme")), (1, ("project", "get", "nowhere", "--context", "acme")),
                            (77, ("project", "list", "--url", url, "--token-file", wrong)),
                            (77, ("organization", "list", "--context", "acme")), (1, ("project", "create", "search", "--context", "acme")),
                            (1, ("project", "create", "No Name!", "--context", "acme")), (64, ("project", "get", "--context", "acme")),
                            (69, ("project", "list", "--url", f"http://127.0.0.1:{free_port()}"))):
            result = self.stack.reeve(*words, check=False)
            self.assertEqual(code, result.returncode, (words, result.stderr))
            self.assertEqual(code != 0, "reeve: " in result.stderr, words)

    def test_a_dry_run_shows_the_change_and_makes_none(self):
        shown = self.owner("project", "create", "never", "--dry-run")
        self.assertEqual((True, "never"), (shown["dry_run"], shown["after"]["name"]))
        before = self.owner("workflow", "status", "summarize")
        self.owner("workflow", "switch", "summarize", "gpt-4.1-mini", "--dry-run")
        self.owner("key", "rotate", "first", "--dry-run")
        self.assertEqual(1, self.owner("project", "get", "never", check=False).returncode)
        self.assertEqual(before, self.owner("workflow", "status", "summarize"))

    def test_what_curl_prints_does_the_same_call(self):
        line = self.owner("project", "create", "by-curl", "--curl", as_json=False)
        self.assertNotIn(self.token(), line)
        self.stack.run("bash", "-euc", line, REEVE_TOKEN_FILE=self.stack.path("acme.token"))
        self.assertEqual("by-curl", self.owner("project", "get", "by-curl")["name"])
        line = self.owner("project", "update", "by-curl", "--description", "x", "--curl", as_json=False)
        self.stack.run("bash", "-euc", line, REEVE_TOKEN_FILE=self.stack.path("acme.token"))
        self.assertEqual("x", self.owner("project", "get", "by-curl")["description"])

    def test_a_price_list_is_a_difference_that_somebody_approves(self):
        where = ("--url", self.stack.url("reeved"), "--token-file", self.stack.path("operator.token"))
        same = self.stack.reeve("price", "import", self.stack.path("prices.json"), *where, check=False)
        self.assertEqual(0, same.returncode, same.stderr)
        prices = json.loads(self.stack.read("prices.json"))
        prices["models"]["gpt-4o-mini"]["output"] = "0.7"
        changed = self.stack.write("changed.json", json.dumps(prices))
        report = self.stack.reeve("price", "import", changed, *where, check=False)
        self.assertEqual((2, 1), (report.returncode, json.loads(report.stdout)["after"]["rates_changed"]), report.stderr)
        self.assertEqual(2, self.stack.reeve("price", "import", changed, *where, check=False).returncode, "a report changed something")

    def test_the_first_root_is_pinned_and_another_one_is_refused(self):
        def create(name):
            return self.stack.reeve("secret", "create", name, "--origin", self.stack.url("provider"), "--from-file", "-",
                                    "--context", "fresh", data="sk-any-key-at-all", check=False)
        self.stack.reeve("context", "add", "fresh", "--url", self.stack.url("reeved"), "--token-file", self.stack.path("acme.token"),
                         "--project", "search", as_json=False)
        try:
            first = create("pinned")
            self.assertEqual(0, first.returncode, first.stderr)
            self.assertIn("trusting the root " + self.stack.state["root_hash"], first.stderr)
            self.assertNotIn("trusting", create("pinned-2").stderr)
            self.stack.reeve("context", "set", "--context", "fresh", "--root-hash", "A" * 43, as_json=False)
            refused = create("another-root")
            self.assertEqual(1, refused.returncode)
            self.assertIn("another root", refused.stderr)
            self.assertEqual(1, self.owner("secret", "get", "another-root", check=False).returncode)
        finally:
            self.stack.reeve("context", "delete", "fresh", as_json=False)

    def test_run_gives_a_key_that_the_gateway_knows_and_that_ends(self):
        script = 'import os; print(os.environ["OPENAI_API_KEY"])'
        key = self.stack.reeve("--context", "acme", "run", "--gateway", self.stack.url("gateway"), "--ttl", "5s", "--",
                               "/usr/bin/python3", "-c", script, as_json=False).strip()
        answer = self.call_model("summarize", key=key)
        self.assertTrue(answer.ok, (key, answer))
        self.until(lambda: self.call_model("summarize", key=key).status == 401, "the key has ended")

    def test_the_doctor_finds_nothing_wrong_and_then_something(self):
        self.assertNotIn("FAILED", self.owner("doctor", as_json=False))
        ill = self.stack.reeve("doctor", "--url", f"http://127.0.0.1:{free_port()}", as_json=False, check=False)
        self.assertEqual(1, ill.returncode)
        self.assertIn("FAILED", ill.stdout)

    def test_the_bill_has_names_for_people_and_ids_for_programs(self):
        self.assertTrue(self.call_model("summarize").ok)
        rows = self.until(lambda: self.owner("usage", "list", "--group-by", "project,workflow,connection,client_key,model"),
                          "the call is in the ledger")
        self.assertTrue(rows[0]["project"].startswith("prj_"))
        table = self.owner("usage", "list", "--group-by", "project,workflow,connection,client_key,model", as_json=False)
        self.assertRegex(table, r"search +summarize +summarize-primary +\S+ +gpt-4o-mini")
        self.assertRegex(table, r"\ntotal +\d+ +0\.0")
        said = self.owner("usage", "list", as_json=False, check=False).stderr
        self.assertRegex(said, r"complete to \d{4}-")

    def test_the_account_is_checked_and_a_wrong_sum_ends_with_2(self):
        self.assertTrue(self.call_model("summarize").ok)
        self.until(lambda: self.owner("usage", "list", "--group-by", "model"), "the call is in the ledger")
        fine = self.owner("usage", "verify", as_json=False, check=False)
        self.assertEqual(0, fine.returncode, fine.stdout + fine.stderr)
        self.assertRegex(fine.stdout, r"hourly-sums +fine +0")
        self.stack.psql("update ledger.rollup_hour set amount = amount + 1")
        self.addCleanup(self.stack.psql, "update ledger.rollup_hour set amount = amount - 1")
        wrong = self.owner("usage", "verify", as_json=False, check=False)
        self.assertEqual(2, wrong.returncode, wrong.stdout + wrong.stderr)
        self.assertRegex(wrong.stdout, r"hourly-sums +WRONG +[1-9]")
        self.assertFalse(json.loads(self.owner("usage", "verify", check=False).stdout)["healthy"])

    def test_what_has_no_price_is_marked_in_the_bill(self):
        self.owner("workflow", "create", "unpriced", "--dialect", "openai")
        self.owner("workflow", "revise", "unpriced", "--release", "--target", "connection=summarize-primary,model=no-such-price")
        self.until(lambda: self.call_model("unpriced").ok, "the gateway knows the workflow")
        self.until(lambda: self.owner("usage", "list", "--model", "no-such-price", "--group-by", "model"), "the call is in the ledger")
        bill = self.owner("usage", "list", "--group-by", "model", as_json=False, check=False)
        self.assertRegex(bill.stdout, r"no-such-price +\d+ +0 \*")
        self.assertRegex(bill.stderr, r"\* without the \d+ units that have no price")
        self.assertNotIn("*", self.owner("usage", "list", "--group-by", "model", "-o", "csv", as_json=False))
        checked = self.owner("usage", "verify", as_json=False, check=False)
        self.assertEqual(2, checked.returncode)
        self.assertRegex(checked.stdout, r"prices +WRONG +[1-9]")


if __name__ == "__main__":
    unittest.main()
