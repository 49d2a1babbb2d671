"""A TCP proxy on loopback, inside the test: a request arrives and takes effect, its answer never comes back."""
import socket
import threading


class DeafProxy:
    def __init__(self, target_port):
        self.target_port = target_port
        self.lock = threading.Lock()
        self.request, self.answer, self.left = b"", b"", 0
        self.sockets = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def lose(self, request, answer, count):
        """The next `count` requests with these bytes: the connection is cut where the bytes of the answer come."""
        with self.lock:
            self.request, self.answer, self.left = request, answer, count

    def cut(self):
        """Ends all connections."""
        with self.lock:
            ending, self.sockets = self.sockets, []
        for one in ending:
            end(one)

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            try:
                server = socket.create_connection(("127.0.0.1", self.target_port), 10)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            with self.lock:
                self.sockets += [client, server]
            deaf = threading.Event()
            threading.Thread(target=self.ask, args=(client, server, deaf), daemon=True).start()
            threading.Thread(target=self.reply, args=(server, client, deaf), daemon=True).start()

    def ask(self, client, server, deaf):
        def pass_on(data):
            with self.lock:
                if self.left > 0 and self.request in data:
                    self.left -= 1
                    deaf.set()
            server.sendall(data)
        carry(client, server, pass_on)

    def reply(self, server, client, deaf):
        def pass_back(data):
            if not deaf.is_set():
                client.sendall(data)
            elif self.answer in data:
                end(client)
        carry(server, client, pass_back)


def carry(source, target, handle):
    try:
        while data := source.recv(1 << 16):
            handle(data)
    except OSError:
        pass
    end(source)
    end(target)


def end(one):
    """Wakes up whoever waits for it, which close alone does not."""
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    one.close()
