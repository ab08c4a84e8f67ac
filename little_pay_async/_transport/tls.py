"""TLS without I/O: `ssl.SSLObject` over a pair of `ssl.MemoryBIO`.

asyncio's own TLS holds a read buffer of 256 KiB for each connection; this holds what OpenSSL holds.

Rules of this file:

- Bytes of the network go in by `receive`, bytes for it are fetched by `to_send`: after every call,
  for a read may have to be answered (alerts, key updates).
- What came whole before TLS failed or ended is delivered.
- Chain and host name are verified by the context, in the handshake. Who made the context decides
  what is trusted.
- A stream that ends without the peer's close_notify was cut off, by whomever.
- A session is resumed only where OpenSSL alone verifies: with it comes no chain that others, who
  look at it after the handshake, could verify (truststore on macOS and Windows).
"""

import contextlib
import ssl

_PIECE = 16 * 1024  # no record holds more
_HEADER = 5  # bytes of a record's header, of which the last two are the length of the rest


class Tls:
    """The client's side of one TLS connection.

    Args:
        context: Verifies, and knows the authorities, the client's certificate and ALPN.
        host: Whom the certificate must name, and who is asked for by SNI.
        session: Of an earlier connection to the same host by the same context, to be resumed.

    Attributes:
        ended: Has the peer said that nothing more will come?
        failure: What reading failed of: an alert came, or what came is no TLS.
    """

    __slots__ = ("_from_network", "_header", "_rest", "_tls", "_to_network", "ended", "failure")

    def __init__(
        self, context: ssl.SSLContext, host: str, session: ssl.SSLSession | None = None
    ) -> None:
        self._from_network = ssl.MemoryBIO()
        self._to_network = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._from_network, self._to_network, server_hostname=host, session=session
        )
        self._header = b""  # of the record that has begun to come
        self._rest = 0  # how many of its bytes are still to come after that
        self.ended = False
        self.failure: ssl.SSLError | None = None

    @property
    def session(self) -> ssl.SSLSession | None:
        """What a later connection may resume; with TLS 1.3 there once the peer has sent it.

        Asking takes a third of the time of a handshake.
        """
        if type(self._tls) is not ssl.SSLObject:
            return None
        session = self._tls.session
        return session if session is not None and session.has_ticket else None

    @property
    def is_resumed(self) -> bool:
        """Has the handshake resumed the session?"""
        return bool(self._tls.session_reused)

    @property
    def is_between_records(self) -> bool:
        """Have all records that have begun to come, come whole? What is in the others nobody knows.

        OpenSSL knows too, but Python does not tell.
        """
        return not self._rest and not self._header

    def shake_hands(self) -> bool:
        """Go on with the handshake; return whether it is done.

        Raises:
            ssl.SSLError: It failed; `ssl.SSLCertVerificationError` if the peer is not to be
                trusted. What there is `to_send` tells the peer.
        """
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def receive(self, data: bytes) -> None:
        """Take in what came from the network."""
        self._from_network.write(data)
        if self._header:
            data, self._header = self._header + data, b""
        position, end = self._rest, len(data)
        while position + _HEADER <= end:
            position += _HEADER + int.from_bytes(data[position + 3 : position + _HEADER], "big")
        self._rest = max(0, position - end)
        if position < end:
            self._header = data[position:]

    def read(self) -> bytes:
        """Return what can be decrypted; see `ended` and `failure` for what came after it."""
        parts: list[bytes] = []
        try:
            while True:
                part = self._tls.read(_PIECE)
                if not part:
                    self.ended = True
                    break
                parts.append(part)
                # Asking once more would only raise that there is no more.
                if not self._from_network.pending and not self._tls.pending():
                    break
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLError as error:
            self.failure = error.with_traceback(None)  # its frame holds what was read
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, data: bytes) -> None:
        """Encrypt what is to be sent.

        Raises:
            ssl.SSLError: TLS has failed or ended.
        """
        self._tls.write(data)

    def close(self) -> None:
        """Say that nothing more will be sent. The peer's answer is not waited for."""
        with contextlib.suppress(ssl.SSLError):  # it wants the answer, or has failed anyway
            self._tls.unwrap()

    def to_send(self) -> bytes:
        """Return what is to be sent to the network."""
        return self._to_network.read() if self._to_network.pending else b""
