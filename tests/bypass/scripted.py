"""An upstream that does exactly what a test's script says with each connection, at the level of bytes."""

import contextlib
import socket
import threading
from collections.abc import Callable

Script = Callable[["Peer"], None]


class Peer:
    """One connection from the gate."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.sock = sock
        self.number = number  # the how-manieth since the script was set
        self.received = b""

    def read_head(self) -> bytes:
        """A request's head; what came after it stays in `received`."""
        while b"\r\n\r\n" not in self.received:
            self._read()
        head, _, self.received = self.received.partition(b"\r\n\r\n")
        return head

    def read_request(self) -> tuple[bytes, bytes]:
        """A whole request with a Content-Length: head and body."""
        head = self.read_head()
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while len(self.received) < length:
            self._read()
        body, self.received = self.received[:length], self.received[length:]
        return head, body

    def wait_for_end(self) -> bytes:
        """What the gate still sends, once it has closed."""
        with contextlib.suppress(ConnectionError):
            while piece := self.sock.recv(1 << 16):
                self.received += piece
        return self.received

    def send(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            self.sock.sendall(data)

    def _read(self) -> None:
        piece = self.sock.recv(1 << 16)
        if not piece:
            raise ConnectionError("the gate closed")
        self.received += piece


class Scripted:
    """Runs `script` in a thread for each connection. `ended` counts those whose script is over."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._script: Script = lambda peer: None
        self.connections = 0
        self.peers: list[Peer] = []
        self.faults: list[BaseException] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def play(self, script: Script) -> None:
        """From now on, each connection is handled by `script`; those that the gate kept from before are closed first."""
        for peer in list(self.peers):
            with contextlib.suppress(OSError):
                peer.sock.shutdown(socket.SHUT_WR)  # the gate closes its side, and the script there ends
        self.done()
        self._script, self.connections = script, 0

    def answer(self, *pieces: bytes) -> None:
        """Each request is answered with exactly these bytes; then the gate has to do something."""

        def script(peer: Peer) -> None:
            while True:
                peer.read_request()
                for piece in pieces:
                    peer.send(piece)

        self.play(script)

    def done(self) -> None:
        """Returns when every script is over. Raises what one raised."""
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()
        self._threads.clear()
        if self.faults:
            raise self.faults.pop()

    def stop(self) -> None:
        for peer in self.peers:
            with contextlib.suppress(OSError):
                peer.sock.shutdown(socket.SHUT_RDWR)
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(10)
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                sock.settimeout(10)
                self.connections += 1
                peer = Peer(sock, self.connections)
                self.peers.append(peer)
                thread = threading.Thread(target=self._run, args=(peer, self._script), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _run(self, peer: Peer, script: Script) -> None:
        with peer.sock, contextlib.suppress(ConnectionError):
            try:
                script(peer)
            except (AssertionError, TimeoutError) as fault:
                self.faults.append(fault)
        self.peers.remove(peer)
