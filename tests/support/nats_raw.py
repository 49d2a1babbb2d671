"""Just enough of the NATS protocol to do to a stream what no program of ours would."""
import base64
import json
import socket


class RawNats:
    def __init__(self, port, user=None, password=None):
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.file = self.socket.makefile("rb")
        assert self.file.readline().startswith(b"INFO ")
        options = {"verbose": False, "pedantic": False, "headers": True}
        if user:
            options.update(user=user, **{"pass": password})
        self.socket.sendall(f"CONNECT {json.dumps(options)}\r\nSUB inbox 1\r\nPING\r\n".encode())
        while self.line() != b"PONG":
            pass

    def line(self):
        return self.file.readline().rstrip(b"\r\n")

    def request(self, subject, body=b""):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.socket.sendall(f"PUB {subject} inbox {len(body)}\r\n".encode() + body + b"\r\n")
        while True:
            words = self.line().split(b" ")
            if words[0] == b"PING":
                self.socket.sendall(b"PONG\r\n")
            elif words[0] in (b"MSG", b"HMSG"):
                data = self.file.read(int(words[-1]))
                self.line()
                return data[int(words[-2]):] if words[0] == b"HMSG" else data
            elif words[0] == b"-ERR":
                raise AssertionError(b" ".join(words))

    def api(self, call, body=b""):
        return json.loads(self.request("$JS.API." + call, body))

    def create_stream(self, name, **settings):
        config = {"name": f"RUNNEL-{name}", "subjects": [f"runnel.{name}.log"], "storage": "file", "discard": "new",
                  "retention": "limits", "num_replicas": 1, **settings}
        answer = self.api(f"STREAM.CREATE.RUNNEL-{name}", config)
        assert "error" not in answer, answer

    def limit_stream(self, name, **settings):
        """As an administrator's hand does while the stream is in use."""
        config = self.api(f"STREAM.INFO.RUNNEL-{name}")["config"]
        answer = self.api(f"STREAM.UPDATE.RUNNEL-{name}", {**config, **settings})
        assert "error" not in answer, answer

    def publish(self, name, payload):
        answer = json.loads(self.request(f"runnel.{name}.log", payload))
        assert "error" not in answer, answer
        return answer["seq"]

    def last(self, name):
        answer = self.api(f"STREAM.MSG.GET.RUNNEL-{name}", {"last_by_subj": f"runnel.{name}.log"})
        return base64.b64decode(answer["message"]["data"])


def stream_messages(port, stream):
    """All of a stream from its first message on: (Nats-Msg-Id, the payload as JSON)."""
    nats = RawNats(port)
    state = nats.api(f"STREAM.INFO.{stream}")["state"]
    for seq in range(state["first_seq"], state["last_seq"] + 1):
        message = nats.api(f"STREAM.MSG.GET.{stream}", {"seq": seq})["message"]
        headers = base64.b64decode(message["hdrs"]).decode().split("\r\n")
        ids = [line.split(":", 1)[1].strip() for line in headers if line.startswith("Nats-Msg-Id:")]
        yield ids[0], json.loads(base64.b64decode(message["data"]))
