"""A client of server-sent events on Python's own HTTP library, and one that comes back for as long as it is wanted."""
import http.client
import json
import socket
import threading
import time


class Refused(Exception):
    """The server answered with something else than a stream."""

    def __init__(self, status, body):
        super().__init__(f"{status}: {body}")
        self.status, self.body = status, body


class SseStream:
    """One connection: an iterator of (id, name, data)."""

    def __init__(self, port, path, last_id=None, timeout=30):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        headers = {"Accept": "text/event-stream"}
        if last_id:
            headers["Last-Event-ID"] = last_id
        self.connection.request("GET", path, headers=headers)
        self.socket = self.connection.sock  # the answer takes it away from the connection
        self.answer = self.connection.getresponse()
        if self.answer.status != 200:
            body = self.answer.read().decode()
            self.close()
            raise Refused(self.answer.status, body)
        assert self.answer.getheader("Content-Type") == "text/event-stream", self.answer.getheaders()
        self.comments, self.retry, self.id = 0, None, None

    def __iter__(self):
        name, data = None, []
        while True:
            raw = self.answer.readline()
            if not raw.endswith(b"\n"):
                return  # the end; half a line is no event
            line = raw.decode().rstrip("\n")
            if line.startswith(":"):
                self.comments += 1
            elif line == "":
                if data:
                    yield self.id, name, "\n".join(data)
                name, data = None, []
            else:
                field, _, value = line.partition(": ")
                if field == "id":
                    self.id = value
                elif field == "event":
                    name = value
                elif field == "data":
                    data.append(value)
                elif field == "retry":
                    self.retry = int(value)

    def close(self):
        self.answer.close()
        self.connection.close()

    def cut(self):
        """From another thread: whoever reads gets the end."""
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is closed already


class SseFollower(threading.Thread):
    """Hands every event to `take`, and comes back behind `position()` whenever the stream ends or is not there."""

    def __init__(self, port, path, take, position, between=lambda: None):
        super().__init__(daemon=True)
        self.port, self.path, self.take, self.position, self.between = port, path, take, position, between
        self.ending, self.failed, self.connections, self.stream = False, None, 0, None

    def run(self):
        try:
            while not self.ending:
                try:
                    self.follow()
                except (OSError, http.client.HTTPException):
                    time.sleep(0.01)
        except Exception as error:  # noqa: B902 - told by the main thread
            self.failed = error

    def follow(self):
        self.stream = SseStream(self.port, self.path, self.position())
        self.connections += 1
        for token, name, data in self.stream:
            if name:
                raise AssertionError(f"{name}: {data}")
            self.take(token, json.loads(data))
            if self.between():
                break
        self.stream.close()

    def finish(self):
        self.ending = True
        if self.stream:
            self.stream.cut()
        self.join(30)
        assert not self.is_alive(), "a client does not end"
        if self.failed:
            raise self.failed
