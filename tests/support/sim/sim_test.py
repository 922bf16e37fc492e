"""What the simulated provider promises, each as a test. Usage: sim_test.py PATH/TO/reeve-sim"""
import hashlib
import http.client
import json
import os
import socket
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from simulated import Simulated  # noqa: E402

PROGRAM = "reeve-sim"
KEY = "sk-test-0123456789"
OPENAI, ANTHROPIC = "/v1/chat/completions", "/v1/messages"


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def events_of(text):
    """The data of each SSE event, decoded where it is JSON."""
    found = []
    for block in text.split("\n\n"):
        for line in block.splitlines():
            if line.startswith("data: "):
                data = line[6:]
                found.append(json.loads(data) if data.startswith("{") else data)
    return found


class Case(unittest.TestCase):
    arguments = ()

    @classmethod
    def setUpClass(cls):
        cls.sim = Simulated(PROGRAM, *cls.arguments)

    @classmethod
    def tearDownClass(cls):
        cls.sim.stop()

    def setUp(self):
        self.sim.reset(journal=True)

    def send(self, path, body, key=KEY, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.sim.port, timeout=10)
        self.addCleanup(connection.close)
        auth = {"authorization": f"Bearer {key}"} if path == OPENAI else {"x-api-key": key}
        text = body if isinstance(body, (str, bytes)) else json.dumps(body)
        connection.request("POST", path, text, {**auth, **(headers or {})})
        return connection.getresponse()

    def call(self, path, body, **more):
        answer = self.send(path, body, **more)
        return answer, answer.read().decode()

    def chat(self, text="hello", **members):
        body = {"model": "m", "messages": [{"role": "user", "content": text}], **members}
        answer, reply = self.call(OPENAI, body)
        self.assertEqual(200, answer.status, reply)
        return reply

    def message(self, content="hello", **members):
        body = {"model": "m", "max_tokens": 4096, "messages": [{"role": "user", "content": content}], **members}
        answer, reply = self.call(ANTHROPIC, body)
        self.assertEqual(200, answer.status, reply)
        return reply

    def last(self):
        return list(self.sim.journal())[-1]


class Shapes(Case):
    def test_a_chat_completion_has_exact_usage_and_is_in_the_journal_as_sent(self):
        answer, text = self.call(OPENAI, {"model": "m", "messages": [{"role": "user", "content": "x" * 41}]})
        reply = json.loads(text)
        self.assertEqual(11, reply["usage"]["prompt_tokens"])
        self.assertEqual(32, reply["usage"]["completion_tokens"])
        self.assertEqual(43, reply["usage"]["total_tokens"])
        self.assertEqual(32 * 4, len(reply["choices"][0]["message"]["content"]))
        line = self.last()
        self.assertEqual(reply["usage"], line["usage"])
        self.assertEqual(answer.getheader("x-request-id"), line["request_id"])
        self.assertEqual((sha256(KEY), "complete", True, 200, False),
                         (line["key_sha256"], line["outcome"], line["usage_delivered"], line["status"], line["stream"]))

    def test_a_prompt_is_counted_in_utf8_bytes_after_unescaping(self):
        usage = json.loads(self.chat("\u00e9\"\\\n\U0001f600 tail"))["usage"]
        self.assertEqual(-(-len("\u00e9\"\\\n\U0001f600 tail".encode()) // 4), usage["prompt_tokens"])

    def test_a_stream_sends_usage_only_when_asked(self):
        asked = events_of(self.chat(stream=True, stream_options={"include_usage": True}))
        self.assertEqual("[DONE]", asked[-1])
        self.assertEqual([], asked[-2]["choices"])
        self.assertEqual(33, asked[-2]["usage"]["total_tokens"] - 1)
        self.assertTrue(all(event["usage"] is None for event in asked[:-2]))
        silent = events_of(self.chat(stream=True))
        self.assertTrue(all("usage" not in event for event in silent[:-1]))
        line = self.last()
        self.assertEqual((None, False, 32), (line["usage"], line["usage_delivered"], line["served"]["output"]))

    def test_max_tokens_bounds_the_output_and_says_so(self):
        for member in ("max_tokens", "max_completion_tokens"):
            reply = json.loads(self.chat(**{member: 7}))
            self.assertEqual(7, self.last()["max_tokens"])
            self.assertEqual((7, "length"), (reply["usage"]["completion_tokens"], reply["choices"][0]["finish_reason"]))
        reply = json.loads(self.message(max_tokens=7))
        self.assertEqual((7, "max_tokens"), (reply["usage"]["output_tokens"], reply["stop_reason"]))

    def test_reasoning_is_part_of_the_completion(self):
        usage = json.loads(self.chat(reasoning_effort="medium"))["usage"]
        self.assertEqual((32, 16), (usage["completion_tokens"], usage["completion_tokens_details"]["reasoning_tokens"]))
        self.assertEqual((16, 16), (self.last()["served"]["output"], self.last()["served"]["reasoning"]))

    def test_an_anthropic_stream_has_the_events_in_order_and_a_cumulative_usage(self):
        events = events_of(self.message(stream=True, max_tokens=2))
        self.assertEqual(["message_start", "content_block_start", "ping", "content_block_delta", "content_block_delta",
                          "content_block_stop", "message_delta", "message_stop"], [event["type"] for event in events])
        self.assertEqual(1, events[0]["message"]["usage"]["output_tokens"])
        self.assertEqual(2, events[-2]["usage"]["output_tokens"])
        line = self.last()
        self.assertEqual(events[0]["message"]["usage"], line["usage_start"])
        self.assertEqual(events[-2]["usage"], line["usage"])

    def test_the_models_are_listed_in_both_shapes(self):
        for headers, member in (({"authorization": "Bearer k"}, "object"), ({"x-api-key": "k"}, "has_more")):
            connection = http.client.HTTPConnection("127.0.0.1", self.sim.port)
            connection.request("GET", "/v1/models", headers=headers)
            reply = json.loads(connection.getresponse().read())
            connection.close()
            self.assertIn(member, reply)
            self.assertIn("sim-large", [model["id"] for model in reply["data"]])

    def test_bad_bodies_get_an_error_in_the_providers_shape(self):
        for body in ("", "[]", "{", '{"model":"m"}', '{"messages":[]}', '{"model":"m","messages":[]', '{"model":"m}'):
            answer, text = self.call(OPENAI, body)
            self.assertEqual((400, "invalid_request_error"), (answer.status, json.loads(text)["error"]["type"]), body)
            answer, text = self.call(ANTHROPIC, body)
            self.assertEqual((400, "error"), (answer.status, json.loads(text)["type"]), body)
        self.assertEqual("refused", self.last()["outcome"])

    def test_an_anthropic_call_without_max_tokens_is_refused(self):
        answer, text = self.call(ANTHROPIC, {"model": "m", "messages": []})
        self.assertEqual(400, answer.status)
        self.assertIn("max_tokens", text)

    def test_chunked_and_unreadable_requests_are_refused_and_closed(self):
        for head, status in ((b"transfer-encoding: chunked\r\n", b"411"), (b"content-length: -1\r\n", b"400"),
                             (b"content-length: 99999999999\r\n", b"413")):
            with socket.create_connection(("127.0.0.1", self.sim.port), timeout=5) as raw:
                raw.sendall(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\n" + head + b"\r\n")
                self.assertIn(status, raw.recv(65536).split(b"\r\n")[0])
                self.assertEqual(b"", raw.recv(10))

    def test_pipelined_requests_are_answered_in_order(self):
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "a"}], "max_tokens": 1}).encode()
        one = (b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k\r\n"
               b"x-sim-pace: first_ms=5\r\ncontent-length: %d\r\n\r\n" % len(body)) + body
        with socket.create_connection(("127.0.0.1", self.sim.port), timeout=5) as raw:
            raw.sendall(one * 3 + one[:40])
            text = b""
            while text.count(b"chat.completion") < 3:
                text += raw.recv(65536)
        self.assertEqual(3, text.count(b"HTTP/1.1 200 OK"))

    def test_a_large_body_that_comes_in_pieces_is_counted_exactly(self):
        usage = json.loads(self.chat("word" * 700000))["usage"]
        self.assertEqual(700000, usage["prompt_tokens"])


class Caching(Case):
    def usage(self, text, **more):
        return json.loads(self.chat(text, **more))["usage"]

    def test_openai_caches_blocks_of_128_tokens_from_1024_up(self):
        text = "".join(f"{n % 997:03} " for n in range(1300))
        self.assertEqual(0, self.usage(text)["prompt_tokens_details"]["cached_tokens"])
        again = self.usage(text)
        self.assertEqual((1300, 1280), (again["prompt_tokens"], again["prompt_tokens_details"]["cached_tokens"]))
        shared = self.usage(text[: 1100 * 4] + "other tail " * 500)
        self.assertEqual(1024, shared["prompt_tokens_details"]["cached_tokens"])
        self.assertEqual(0, self.usage("X" + text)["prompt_tokens_details"]["cached_tokens"])

    def test_a_prompt_under_1024_tokens_is_never_cached(self):
        text = "tiny" * 1000
        self.usage(text)
        self.assertEqual(0, self.usage(text)["prompt_tokens_details"]["cached_tokens"])

    def test_another_model_has_its_own_cache_and_another_key_has_not(self):
        text = "same" * 2048
        self.usage(text)
        self.assertEqual(0, self.usage(text, model="other")["prompt_tokens_details"]["cached_tokens"])
        _, reply = self.call(OPENAI, {"model": "m", "messages": [{"role": "user", "content": text}]}, key="sk-other")
        self.assertEqual(2048, json.loads(reply)["usage"]["prompt_tokens_details"]["cached_tokens"])

    @staticmethod
    def part(text, ttl=None):
        control = {"type": "ephemeral", **({"ttl": ttl} if ttl else {})}
        return {"type": "text", "text": text, "cache_control": control}

    def test_anthropic_writes_at_breakpoints_by_ttl_and_reads_them_back(self):
        system = [self.part("hour" * 2000, "1h")]
        content = [self.part("five" * 1500), {"type": "text", "text": "tail" * 10}]
        first = json.loads(self.message(content, system=system))["usage"]
        self.assertEqual({"ephemeral_5m_input_tokens": 1500, "ephemeral_1h_input_tokens": 2000}, first["cache_creation"])
        self.assertEqual((3500, 0, 10), (first["cache_creation_input_tokens"], first["cache_read_input_tokens"],
                                         first["input_tokens"]))
        second = json.loads(self.message(content, system=system))["usage"]
        self.assertEqual((0, 3500, 10), (second["cache_creation_input_tokens"], second["cache_read_input_tokens"],
                                         second["input_tokens"]))
        other = json.loads(self.message([self.part("else" * 1200)], system=system))["usage"]
        self.assertEqual((1200, 2000, 0), (other["cache_creation_input_tokens"], other["cache_read_input_tokens"],
                                           other["input_tokens"]))

    def test_anthropic_finds_an_earlier_breakpoint_when_the_conversation_grew(self):
        turns = [{"role": "user", "content": [self.part("turn" * 1100)]}]
        self.call(ANTHROPIC, {"model": "m", "max_tokens": 9, "messages": turns})
        grown = [{"role": "user", "content": [{"type": "text", "text": "turn" * 1100}]},
                 {"role": "assistant", "content": "answ" * 20}, {"role": "user", "content": [self.part("more" * 30)]}]
        _, text = self.call(ANTHROPIC, {"model": "m", "max_tokens": 9, "messages": grown})
        usage = json.loads(text)["usage"]
        self.assertEqual((1100, 50, 0), (usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"],
                                         usage["input_tokens"]))

    def test_anthropic_without_breakpoints_or_below_the_minimum_caches_nothing(self):
        for content in ("text" * 3000, [self.part("tiny" * 100)]):
            for _ in range(2):
                usage = json.loads(self.message(content))["usage"]
                self.assertEqual((0, 0), (usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]))

    def test_a_fifth_breakpoint_is_refused(self):
        body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": [self.part("x")] * 5}]}
        answer, _ = self.call(ANTHROPIC, body)
        self.assertEqual(400, answer.status)

    def directive(self, **members):
        return "sim:" + json.dumps(members)

    def test_the_directive_gives_lengths_and_blocks(self):
        text = self.directive(input=1300, output=6, blocks=[1, 2, 3], block_tokens=512)
        first, second = self.usage(text), self.usage(text)
        self.assertEqual((1300, 6, 0), (first["prompt_tokens"], first["completion_tokens"],
                                        first["prompt_tokens_details"]["cached_tokens"]))
        self.assertEqual(1024, second["prompt_tokens_details"]["cached_tokens"])
        other = self.usage(self.directive(input=1300, output=6, blocks=[1, 9, 3], block_tokens=512))
        self.assertEqual(512, other["prompt_tokens_details"]["cached_tokens"])

    def test_the_directive_writes_and_reads_for_anthropic(self):
        for ttl, member in (("5m", "ephemeral_5m_input_tokens"), ("1h", "ephemeral_1h_input_tokens")):
            text = self.directive(input=1100, output=3, blocks=[ttl + "a", ttl + "b", ttl + "c"], ttl=ttl)
            first = json.loads(self.message(text))["usage"]
            self.assertEqual((1024, 76), (first["cache_creation"][member], first["input_tokens"]))
            second = json.loads(self.message(text))["usage"]
            self.assertEqual((0, 1024, 76), (second["cache_creation_input_tokens"], second["cache_read_input_tokens"],
                                             second["input_tokens"]))

    def test_max_tokens_bounds_the_directive_too(self):
        usage = self.usage(self.directive(input=5, output=500), max_tokens=100)
        self.assertEqual(100, usage["completion_tokens"])


class SmallCache(Case):
    arguments = ("--cache-entries", "4")

    def test_the_oldest_prefix_is_forgotten_first(self):
        def cached(*blocks):
            body = "sim:" + json.dumps({"input": 10 * len(blocks), "output": 1, "blocks": blocks, "block_tokens": 10})
            return json.loads(self.chat(body))["usage"]["prompt_tokens_details"]["cached_tokens"]
        cached(1), cached(2), cached(3), cached(4)
        self.assertEqual(10, cached(1))
        self.assertEqual(0, cached(5))
        self.assertEqual(10, cached(1))
        self.assertEqual(0, cached(2))


class Keys(Case):
    def test_without_a_list_any_key_but_a_revoked_or_empty_one_is_accepted(self):
        body = {"model": "m", "messages": []}
        self.assertEqual(200, self.call(OPENAI, body, key="anything")[0].status)
        self.sim.keys(revoke=["sk-gone"])
        answer, text = self.call(OPENAI, body, key="sk-gone")
        self.assertEqual((401, "invalid_api_key"), (answer.status, json.loads(text)["error"]["code"]))
        self.assertEqual((401, "refused", sha256("sk-gone")), (self.last()["status"], self.last()["outcome"],
                                                               self.last()["key_sha256"]))
        connection = http.client.HTTPConnection("127.0.0.1", self.sim.port)
        connection.request("POST", ANTHROPIC, json.dumps(body))
        answer = connection.getresponse()
        self.assertEqual((401, "authentication_error"), (answer.status, json.loads(answer.read())["error"]["type"]))
        connection.close()
        self.assertIsNone(self.last()["key_sha256"])

    def test_a_list_is_read_and_read_again_and_changed_over_control(self):
        with tempfile.NamedTemporaryFile("w", suffix=".keys") as file:
            file.write("# accepted\nsk-one\n\nsk-two\n")
            file.flush()
            with Simulated(PROGRAM, "--keys", file.name) as sim:
                def status(key):
                    connection = http.client.HTTPConnection("127.0.0.1", sim.port)
                    connection.request("POST", OPENAI, '{"model":"m","messages":[]}',
                                       {"authorization": "Bearer " + key})
                    code = connection.getresponse().status
                    connection.close()
                    return code
                self.assertEqual([200, 200, 401], [status(key) for key in ("sk-one", "sk-two", "sk-three")])
                sim.keys(add=["sk-three"], revoke=["sk-one"])
                self.assertEqual([401, 200, 200], [status(key) for key in ("sk-one", "sk-two", "sk-three")])
                file.seek(0)
                file.truncate()
                file.write("sk-four\n")
                file.flush()
                sim.control("POST", "/_sim/keys", {"reload": True})
                self.assertEqual([401, 401, 200], [status(key) for key in ("sk-two", "sk-three", "sk-four")])

    def test_stats_count_by_key_and_model(self):
        self.chat()
        self.chat(model="other")
        stats = self.sim.stats()
        self.assertEqual((2, 2, {"m": 1, "other": 1}), (stats["requests"], stats["keys"][sha256(KEY)], stats["models"]))
        self.assertNotIn(KEY, json.dumps(stats))


class Faults(Case):
    def tearDown(self):
        self.sim.heal()

    def streamed(self, path=OPENAI, **members):
        body = {"model": "m", "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 20,
                "messages": [{"role": "user", "content": "hello"}], **members}
        return self.send(path, body)

    def test_a_status_comes_with_retry_after_as_often_as_asked(self):
        self.sim.fault("status", status=429, retry_after=7, count=2)
        body = {"model": "m", "messages": []}
        answers = [self.call(OPENAI, body)[0] for _ in range(3)]
        self.assertEqual([429, 429, 200], [answer.status for answer in answers])
        self.assertEqual("7", answers[0].getheader("retry-after"))
        self.assertEqual(["status", "status", "complete"], [line["outcome"] for line in self.sim.journal()])

    def test_an_overloaded_anthropic_says_so(self):
        self.sim.fault("status", status=529)
        answer, text = self.call(ANTHROPIC, {"model": "m", "max_tokens": 1, "messages": []})
        self.assertEqual((529, "overloaded_error"), (answer.status, json.loads(text)["error"]["type"]))

    def test_a_rule_matches_model_key_path_and_stream(self):
        self.sim.fault("status", status=500, match={"model": "m", "key_prefix": "sk-t", "path": OPENAI, "stream": False})
        body = {"model": "m", "messages": [], "max_tokens": 1}
        self.assertEqual(500, self.call(OPENAI, body)[0].status)
        self.assertEqual(200, self.call(OPENAI, {**body, "model": "n"})[0].status)
        self.assertEqual(200, self.call(OPENAI, body, key="other")[0].status)
        self.assertEqual(200, self.call(ANTHROPIC, body)[0].status)
        self.assertEqual(200, self.call(OPENAI, {**body, "stream": True})[0].status)

    def test_wrong_rules_are_refused_by_name(self):
        for rule in ({}, {"fault": {}}, {"fault": {"kind": "nonsense"}}, {"fault": {"kind": "status"}},
                     {"match": {"modle": "m"}, "fault": {"kind": "hang"}}, {"fault": {"kind": "hang", "sttus": 1}}):
            with self.assertRaises(RuntimeError, msg=rule):
                self.sim.control("POST", "/_sim/faults", rule)

    def test_a_hang_lasts_until_the_caller_leaves(self):
        for kind in ("hang", "hang_after_headers"):
            self.sim.heal()
            self.sim.fault(kind)
            before = self.sim.stats()["client_disconnects"]
            with socket.create_connection(("127.0.0.1", self.sim.port), timeout=0.3) as raw:
                body = b'{"model":"m","messages":[]}'
                raw.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nauthorization: Bearer k\r\ncontent-length: %d\r\n\r\n"
                            % len(body) + body)
                if kind == "hang_after_headers":
                    self.assertIn(b"200 OK", raw.recv(4096))
                with self.assertRaises(socket.timeout):
                    raw.recv(1)
            self.wait_for(lambda: self.sim.stats()["client_disconnects"] == before + 1)
            line = self.last()
            self.assertEqual((kind, True, 0, None), (line["outcome"], line["client_gone"], line["tokens_generated"],
                                                     line["usage"]))

    def test_a_stream_and_an_answer_fall_silent_in_their_middle(self):
        self.sim.fault("hang_after_events", n=4)
        for stream, events in ((True, 4), (False, 0)):
            before = self.sim.stats()["client_disconnects"]
            connection = http.client.HTTPConnection("127.0.0.1", self.sim.port, timeout=0.3)
            body = {"model": "m", "stream": stream, "max_tokens": 20, "messages": [{"role": "user", "content": "hello"}]}
            connection.request("POST", OPENAI, json.dumps(body), {"authorization": "Bearer k"})
            answer = connection.getresponse()
            with self.assertRaises(socket.timeout):
                answer.read()
            answer.close()
            connection.close()
            self.wait_for(lambda: self.sim.stats()["client_disconnects"] == before + 1)
            line = self.last()
            self.assertEqual(("hang_after_events", None, True), (line["outcome"], line["usage"], line["client_gone"]))
            self.assertEqual(events or 20, line["tokens_generated"])

    def wait_for(self, condition):
        deadline = time.monotonic() + 5
        while not condition():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.005)

    def test_a_stream_is_cut_after_so_many_events(self):
        self.sim.fault("cut_after_events", n=3)
        for path in (OPENAI, ANTHROPIC):
            answer = self.streamed(path)
            with self.assertRaises(http.client.IncompleteRead) as raised:
                answer.read()
            text = raised.exception.partial.decode()
            self.assertEqual(3, text.count('"content":"') - 1 if path == OPENAI else text.count("content_block_delta") // 2)
            line = self.last()
            self.assertEqual(("cut", 3, None, False), (line["outcome"], line["tokens_generated"], line["usage"],
                                                       line["usage_delivered"]))
        self.assertIsNotNone(line["usage_start"])

    def test_a_json_answer_is_cut_in_its_middle(self):
        self.sim.fault("cut_after_events")
        with self.assertRaises(http.client.IncompleteRead):
            self.send(OPENAI, {"model": "m", "messages": []}).read()
        self.assertEqual(("cut", None), (self.last()["outcome"], self.last()["usage"]))

    def test_a_reset_answers_nothing(self):
        self.sim.fault("reset")
        with self.assertRaises((ConnectionResetError, http.client.RemoteDisconnected)):
            self.send(OPENAI, {"model": "m", "messages": []})
        self.assertEqual(("reset", 0), (self.last()["outcome"], self.last()["served"]["input_uncached"]))

    def test_empty_and_malformed_answers_are_200(self):
        self.sim.fault("empty", count=2)
        self.sim.fault("malformed", count=2)
        answer, text = self.call(OPENAI, {"model": "m", "messages": []})
        self.assertEqual((200, ""), (answer.status, text))
        self.assertEqual(b"", self.streamed().read())
        answer, text = self.call(OPENAI, {"model": "m", "messages": []})
        self.assertEqual(200, answer.status)
        with self.assertRaises(ValueError):
            json.loads(text)
        with self.assertRaises(ValueError):
            events_of(self.streamed().read().decode())

    def test_a_drip_is_slow_and_right(self):
        self.sim.fault("drip", gap_ms=1)
        start = time.monotonic()
        reply = json.loads(self.chat(max_tokens=1))
        self.assertGreater(time.monotonic() - start, 0.3)
        self.assertEqual(1, reply["usage"]["completion_tokens"])
        events = events_of(self.streamed(max_tokens=1).read().decode())
        self.assertEqual("[DONE]", events[-1])
        self.assertEqual("complete", self.last()["outcome"])

    def test_a_slow_first_byte_is_slow(self):
        self.sim.fault("slow_first_byte", ms=200)
        start = time.monotonic()
        self.chat()
        self.assertGreaterEqual(time.monotonic() - start, 0.2)

    def test_an_error_event_ends_a_stream(self):
        self.sim.fault("error_event_in_stream", n=2)
        events = events_of(self.streamed().read().decode())
        self.assertIn("error", events[-1])
        self.assertNotIn("[DONE]", events)
        events = events_of(self.streamed(ANTHROPIC).read().decode())
        self.assertEqual(("error", "overloaded_error"), (events[-1]["type"], events[-1]["error"]["type"]))
        self.assertEqual(("error_event_in_stream", 2), (self.last()["outcome"], self.last()["tokens_generated"]))

    def test_credentials_are_echoed_only_on_demand(self):
        answer, _ = self.call(OPENAI, {"model": "m", "messages": []})
        self.assertNotIn(KEY, str(answer.getheaders()))
        self.sim.fault("echo_auth")
        answer, _ = self.call(OPENAI, {"model": "m", "messages": []})
        self.assertEqual("Bearer " + KEY, answer.getheader("authorization"))
        answer, _ = self.call(ANTHROPIC, {"model": "m", "max_tokens": 1, "messages": []})
        self.assertEqual(KEY, answer.getheader("x-api-key"))


class Pacing(Case):
    def test_a_paced_stream_keeps_time_and_writes_one_event_at_a_time(self):
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        start = time.monotonic()
        answer = self.send(OPENAI, body, headers={"x-sim-pace": "first_ms=50,gap_ms=20,events=10"})
        first = time.monotonic() - start
        events = events_of(answer.read().decode())
        total = time.monotonic() - start
        self.assertGreaterEqual(first, 0.05)
        self.assertGreaterEqual(total, 0.05 + 9 * 0.02)
        self.assertLess(total, 1.5)
        self.assertEqual(10 + 3, len(events))

    def test_the_directive_can_set_the_pace(self):
        start = time.monotonic()
        self.chat('sim:{"input":9,"output":40,"first_ms":30,"gap_ms":5,"events":20}')
        self.assertGreaterEqual(time.monotonic() - start, 0.13)
        self.assertEqual(40, self.last()["tokens_generated"])

    def test_a_caller_who_leaves_ends_the_generation(self):
        body = {"model": "m", "stream": True, "max_tokens": 5000, "messages": [{"role": "user", "content": "hi"}]}
        connection = http.client.HTTPConnection("127.0.0.1", self.sim.port, timeout=5)
        connection.request("POST", OPENAI, json.dumps(body), {"authorization": "Bearer k",
                                                              "x-sim-pace": "gap_ms=5,events=1000"})
        answer = connection.getresponse()
        answer.read(1000)
        answer.close()
        connection.close()
        deadline = time.monotonic() + 5
        while not self.sim.stats()["client_disconnects"]:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.005)
        line = self.last()
        self.assertEqual(("client_gone", False, 200), (line["outcome"], line["usage_delivered"], line["status"]))
        self.assertTrue(0 < line["tokens_generated"] < 1000)

    def test_a_reader_who_is_slow_gets_every_token_of_a_large_stream(self):
        body = {"model": "m", "stream": True, "stream_options": {"include_usage": True},
                "messages": [{"role": "user", "content": 'sim:{"input":1,"output":60000}'}]}
        answer = self.send(OPENAI, body)
        time.sleep(0.2)
        events = events_of(answer.read().decode())
        text = "".join(event["choices"][0]["delta"].get("content", "") for event in events[:-1] if event["choices"])
        self.assertEqual((60000 * 4, 60000), (len(text), events[-2]["usage"]["completion_tokens"]))


class Journal(Case):
    def test_it_is_exact_over_many_calls_and_reads_from_any_line(self):
        for _ in range(700):
            self.chat(max_tokens=1)
        lines = list(self.sim.journal())
        self.assertEqual(list(range(1, 701)), [line["n"] for line in lines])
        for after in (0, 1, 255, 256, 257, 699, 700, 10000):
            self.assertEqual(lines[after:], list(self.sim.journal(after)))
        self.assertEqual(700, len({line["request_id"] for line in lines}))

    def test_a_signal_drains_and_flushes(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "journal")
            sim = Simulated(PROGRAM, "--journal", path)
            connection = http.client.HTTPConnection("127.0.0.1", sim.port, timeout=10)
            body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
            connection.request("POST", OPENAI, json.dumps(body), {"authorization": "Bearer k",
                                                                  "x-sim-pace": "first_ms=300"})
            time.sleep(0.1)
            sim.process.terminate()
            answer = connection.getresponse()
            self.assertEqual(200, answer.status)
            answer.read()
            connection.close()
            self.assertEqual(0, sim.stop())
            with open(path, encoding="utf-8") as file:
                self.assertEqual(["complete"], [json.loads(line)["outcome"] for line in file])

    def test_threads_share_one_account(self):
        with Simulated(PROGRAM, "--threads", "3") as sim:
            for _ in range(40):
                connection = http.client.HTTPConnection("127.0.0.1", sim.port)
                connection.request("POST", OPENAI, '{"model":"m","messages":[]}', {"authorization": "Bearer k"})
                connection.getresponse().read()
                connection.close()
            deadline = time.monotonic() + 5
            while sim.stats()["journal_lines"] < 40:
                self.assertLess(time.monotonic(), deadline)
            self.assertEqual(40, len(list(sim.journal())))


class Options(unittest.TestCase):
    def test_only_listed_models_are_served(self):
        with Simulated(PROGRAM, "--models", "a,b") as sim:
            for model, status in (("a", 200), ("b", 200), ("c", 404)):
                connection = http.client.HTTPConnection("127.0.0.1", sim.port)
                connection.request("POST", OPENAI, json.dumps({"model": model, "messages": []}),
                                   {"authorization": "Bearer k"})
                self.assertEqual(status, connection.getresponse().status)
                connection.close()

    def test_fast_never_waits(self):
        with Simulated(PROGRAM, "--fast", "--first-byte-ms", "2000") as sim:
            connection = http.client.HTTPConnection("127.0.0.1", sim.port)
            start = time.monotonic()
            connection.request("POST", OPENAI, '{"model":"m","messages":[]}',
                               {"authorization": "Bearer k", "x-sim-pace": "first_ms=2000"})
            connection.getresponse().read()
            connection.close()
            self.assertLess(time.monotonic() - start, 1)


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        PROGRAM = sys.argv.pop(1)
    unittest.main()
