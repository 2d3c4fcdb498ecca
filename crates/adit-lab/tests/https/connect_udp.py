#!/usr/bin/python3
"""CONNECT-UDP (RFC 9298) as others would write it, to meet ours.

TLS 1.3 is OpenSSL's (pyOpenSSL), HTTP/2 is python-h2's, keys are of python3-cryptography; capsules (RFC 9297) and the
Concealed authentication scheme (RFC 9729) were written here from the text of the RFCs, without a look at adit.

    connect_udp.py key                       a new key pair: the secret one, and the public one as `HttpsKey` has it
    connect_udp.py client …                  a UDP port whose datagrams go to a target through a server's CONNECT-UDP
    connect_udp.py server …                  the server: a web page, and CONNECT-UDP to any target for one user

Not here: anything of WireGuard. What goes through are datagrams.
"""

import argparse
import base64
import hashlib
import json
import os
import selectors
import socket
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes, Settings
from OpenSSL import SSL

# RFC 9297 section 3.5: the capsule type of a datagram. RFC 9298 section 5: context 0 is a UDP payload.
DATAGRAM, UDP_PAYLOAD = 0x00, 0
# RFC 9729 section 2: the exporter's label and how much it is asked for; the TLS registry's number for ed25519.
LABEL, EXPORTED, ED25519 = b"EXPORTER-HTTP-Concealed-Authentication", 48, 0x0807
# The longest capsule that is kept, and the most that waits for the stream.
LONGEST, MOST_WAITING = 1 << 20, 1 << 20
# The receive windows of a stream and of a connection; datagrams read from a socket in one go.
WINDOW, AT_ONCE = 1 << 22, 64
# Buffers larger than the machine's limit, as root may have them; Python knows the names since 3.12 only or not at all.
SOCKET_BUFFER, SO_SNDBUFFORCE, SO_RCVBUFFORCE = 4 << 20, 32, 33


# ── bytes ──


def varint(value, longest=False):
    """RFC 9000 section 16; `longest` writes it in eight bytes, as is allowed."""
    for power, bound in enumerate((1 << 6, 1 << 14, 1 << 30, 1 << 62)):
        if value < bound and not (longest and power < 3):
            return (power << (8 * 2**power - 2) | value).to_bytes(2**power, "big")
    raise ValueError("too large for a variable-length integer")


def read_varint(data, at):
    """The value, and where it ends; None if it is not all there."""
    if at >= len(data):
        return None
    end = at + 2 ** (data[at] >> 6)
    if end > len(data):
        return None
    return int.from_bytes(data[at:end], "big") & (1 << (8 * (end - at) - 2)) - 1, end


def capsule(kind, value, longest=False):
    """RFC 9297 section 3.2."""
    return varint(kind, longest) + varint(len(value), longest) + value


class Capsules:
    """Takes a stream apart, in whatever pieces it comes."""

    def __init__(self):
        self.buffer, self.ignored = bytearray(), 0

    def feed(self, data):
        """The UDP payloads that are complete now."""
        self.buffer += data
        payloads, at = [], 0
        while kind := read_varint(self.buffer, at):
            length = read_varint(self.buffer, kind[1])
            if length is None:
                break
            if length[0] > LONGEST:
                raise ValueError("a capsule of %d bytes" % length[0])
            end = length[1] + length[0]
            if end > len(self.buffer):
                break
            context = read_varint(self.buffer, length[1]) if kind[0] == DATAGRAM else None
            if context and context[0] == UDP_PAYLOAD:
                payloads.append(bytes(self.buffer[context[1] : end]))
            else:
                self.ignored += 1
            at = end
        del self.buffer[:at]
        return payloads


def strange_capsules():
    """What a peer must pass over (RFC 9297 section 3.2, RFC 9298 section 5), again and again."""
    while True:
        yield capsule(0x17, bytes(37))
        yield capsule(0x29 * 7 + 0x17, b"")
        yield capsule(0x1234, os.urandom(5000))
        yield capsule(0x3F_FFFF_FFFF, b"unknown", longest=True)
        yield capsule(DATAGRAM, varint(2) + b"of a context that nobody registered")
        yield capsule(DATAGRAM, varint(1 << 40) + b"\x04\0\0\0" + bytes(60))


# ── RFC 9729 ──


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def raw(public):
    return public.public_bytes(Encoding.Raw, PublicFormat.Raw)


def key_id(public):
    """What an adit server knows a key by: docs/guide/https.md, "Keys"."""
    return hashlib.sha256(public).digest()[:16]


def exporter_context(identity, public, host, port, realm=b""):
    """Section 2.1."""
    fields = [ED25519.to_bytes(2, "big")]
    for text in (identity, public, b"https", host):
        fields += [varint(len(text)), text]
    return b"".join(fields + [port.to_bytes(2, "big"), varint(len(realm)), realm])


def signed(exported):
    """Section 2.3: the first 32 bytes of the exporter's output, in their setting."""
    return b" " * 64 + b"HTTP Concealed Authentication" + b"\0" + exported[:32]


def authorization(tls, secret, host, port):
    public = raw(secret.public_key())
    exported = tls.export_keying_material(LABEL, EXPORTED, exporter_context(key_id(public), public, host, port))
    return "Concealed s=%d, v=%s, k=%s, a=%s, p=%s" % (
        ED25519,
        base64url(exported[32:]),
        base64url(key_id(public)),
        base64url(public),
        base64url(secret.sign(signed(exported))),
    )


def is_user(tls, header, user, host, port):
    """Whether the header proves this public key on this connection."""
    scheme, _, rest = header.partition(" ")
    given = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    if scheme.lower() != "concealed" or given.get("s") != str(ED25519):
        return False
    try:
        identity, public, proof, verification = (from_base64url(given[name]) for name in "kapv")
        exported = tls.export_keying_material(LABEL, EXPORTED, exporter_context(identity, public, host, port))
        Ed25519PublicKey.from_public_bytes(user).verify(proof, signed(exported))
    except (KeyError, ValueError, InvalidSignature):
        return False
    return public == user and identity == key_id(user) and verification == exported[32:]


# ── a connection ──


class Wire:
    """HTTP/2 in TLS 1.3 on a TCP socket that never blocks."""

    def __init__(self, tcp, context, name=None):
        self.tcp, self.tls, self.is_client = tcp, SSL.Connection(context, None), name is not None
        tcp.setblocking(False)
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.h2 = H2Connection(H2Configuration(client_side=self.is_client, header_encoding="utf-8"))
        values = {SettingCodes.INITIAL_WINDOW_SIZE: WINDOW}
        if self.is_client:
            self.tls.set_tlsext_host_name(name)
            self.tls.set_connect_state()
            values[SettingCodes.ENABLE_PUSH] = 0
        else:
            self.tls.set_accept_state()
            values[SettingCodes.ENABLE_CONNECT_PROTOCOL] = 1
        self.h2.local_settings = Settings(client=self.is_client, initial_values=values)
        self.is_greeted, self.is_over, self.unsent = False, False, bytearray()

    def receive(self):
        """What came, as events of HTTP/2."""
        try:
            data = self.tcp.recv(1 << 16)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self.is_over = True
            return []
        self.tls.bio_write(data)
        found = []
        try:
            if not self.is_greeted:
                self.greet()
            while True:
                found += self.h2.receive_data(self.tls.recv(1 << 16))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.is_over = True
        return found

    def greet(self):
        self.tls.do_handshake()
        if self.tls.get_alpn_proto_negotiated() != b"h2":
            raise SystemExit("the other end does not speak HTTP/2")
        self.is_greeted = True
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(WINDOW)

    def flush(self):
        """Writes what the socket takes."""
        if self.is_greeted and (data := self.h2.data_to_send()):
            self.tls.sendall(data)
        try:
            while True:
                self.unsent += self.tls.bio_read(1 << 18)
        except SSL.WantReadError:
            pass
        try:
            while self.unsent:
                del self.unsent[: self.tcp.send(self.unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self.is_over = True


class Tunnel:
    """Datagrams between a UDP socket and a stream."""

    def __init__(self, wire, stream, udp, is_strange=False):
        self.wire, self.stream, self.udp = wire, stream, udp
        udp.setblocking(False)
        for option in (SO_SNDBUFFORCE, SO_RCVBUFFORCE):
            udp.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
        self.capsules, self.waiting, self.sender = Capsules(), bytearray(), None
        self.strange = strange_capsules() if is_strange else None

    def from_udp(self):
        for _ in range(AT_ONCE):
            try:
                payload, self.sender = self.udp.recvfrom(1 << 16)
            except (BlockingIOError, ConnectionRefusedError):
                return
            if len(self.waiting) > MOST_WAITING:
                continue  # what there is no room for is lost, as with UDP
            if self.strange:
                self.waiting += next(self.strange)
            self.waiting += capsule(DATAGRAM, varint(UDP_PAYLOAD) + payload)

    def from_stream(self, data):
        for payload in self.capsules.feed(data):
            try:
                if self.wire.is_client:
                    self.sender and self.udp.sendto(payload, self.sender)
                else:
                    self.udp.send(payload)
            except OSError:
                pass  # UDP may lose what it likes

    def pump(self):
        """Gives the stream what its windows allow."""
        while self.waiting:
            room = min(self.wire.h2.local_flow_control_window(self.stream), self.wire.h2.max_outbound_frame_size)
            if room <= 0:
                return
            self.wire.h2.send_data(self.stream, bytes(self.waiting[:room]))
            del self.waiting[:room]


def wants(wire):
    return selectors.EVENT_READ | (selectors.EVENT_WRITE if wire.unsent else 0)


def say(**what):
    print(json.dumps(what), flush=True)


# ── the client ──


def client(args):
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.load_verify_locations(args.ca)
    context.set_verify(SSL.VERIFY_PEER, lambda *given: bool(given[-1]))
    context.set_alpn_protos([b"h2"])
    wire = Wire(socket.create_connection((args.server, 443)), context, args.name.encode())
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", args.listen))
    tunnel, answer, body = None, {}, b""
    selector = selectors.DefaultSelector()
    selector.register(wire.tcp, selectors.EVENT_READ)
    try:
        wire.greet()
    except SSL.WantReadError:
        pass
    while not wire.is_over:
        wire.flush()
        selector.modify(wire.tcp, wants(wire))
        ready = [key.fileobj for key, _ in selector.select()]
        for event in wire.receive() if wire.tcp in ready else []:
            if isinstance(event, events.RemoteSettingsChanged) and tunnel is None:
                # RFC 8441 section 3: not before the server has said that it takes it.
                asked = event.changed_settings.get(SettingCodes.ENABLE_CONNECT_PROTOCOL)
                if asked is None or asked.new_value != 1:
                    raise SystemExit("the server takes no extended CONNECT")
                tunnel = Tunnel(wire, wire.h2.get_next_available_stream_id(), udp, args.strange)
                wire.h2.send_headers(tunnel.stream, request(wire.tls, args))
            elif isinstance(event, events.ResponseReceived):
                answer = dict(event.headers)
                if answer[":status"] == "200":
                    say(**answer)
                    selector.register(udp, selectors.EVENT_READ)
            elif isinstance(event, events.DataReceived):
                wire.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if answer[":status"] == "200":
                    tunnel.from_stream(event.data)
                else:
                    body += event.data
            elif isinstance(event, events.StreamEnded):
                return say(**answer, body=body.decode())
            elif isinstance(event, (events.StreamReset, events.ConnectionTerminated)):
                raise SystemExit("the server ended it: %s" % event)
        if udp in ready:
            tunnel.from_udp()
        if tunnel:
            tunnel.pump()


def request(tls, args):
    host, port = args.target.rsplit(":", 1)
    headers = [
        (":method", "CONNECT"),
        (":protocol", "connect-udp"),
        (":scheme", "https"),
        (":path", "/.well-known/masque/udp/%s/%s/" % (host.replace(":", "%3A"), port)),
        (":authority", args.name),
        ("capsule-protocol", "?1"),
    ]
    if args.key:
        secret = Ed25519PrivateKey.from_private_bytes(base64.b64decode(args.key))
        headers.append(("authorization", authorization(tls, secret, args.name.encode(), 443)))
    return headers


# ── the server ──


class Visitor:
    """One connection to the server."""

    def __init__(self, wire, args, selector):
        self.wire, self.args, self.selector, self.tunnels = wire, args, selector, {}

    def handle(self, event):
        if isinstance(event, events.RequestReceived):
            self.answer(event.stream_id, event.headers)
        elif isinstance(event, events.DataReceived):
            self.wire.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if event.stream_id in self.tunnels:
                self.tunnels[event.stream_id].from_stream(event.data)
        elif isinstance(event, (events.StreamEnded, events.StreamReset)):
            self.close(event.stream_id)

    def answer(self, stream, headers):
        given = dict(headers)
        say(method=given[":method"], path=given.get(":path"), protocol=given.get(":protocol"))
        if given[":method"] == "GET":
            page = b"<!doctype html><title>Another server</title><p>Hello.\n"
            self.wire.h2.send_headers(stream, [(":status", "200"), ("content-type", "text/html")])
            return self.wire.h2.send_data(stream, page, end_stream=True)
        target = self.target(given)
        if target is None:
            return self.wire.h2.send_headers(stream, [(":status", "404")], end_stream=True)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.connect(target)
        self.tunnels[stream] = Tunnel(self.wire, stream, udp, self.args.strange)
        self.selector.register(udp, selectors.EVENT_READ, (self, self.tunnels[stream]))
        self.wire.h2.send_headers(stream, [(":status", "200"), ("capsule-protocol", "?1")])
        say(tunnel=target)

    def target(self, given):
        """Where a user wants to go; None for all others."""
        if given[":method"] != "CONNECT" or given.get(":protocol") != "connect-udp":
            return None
        parts = given[":path"].split("/")
        if parts[:4] != ["", ".well-known", "masque", "udp"] or given.get("capsule-protocol") != "?1":
            return None
        host, _, port = given[":authority"].partition(":")
        user = base64.b64decode(self.args.user)
        if not is_user(self.wire.tls, given.get("authorization", ""), user, host.encode(), int(port or 443)):
            return None
        return parts[4], int(parts[5])

    def close(self, stream):
        tunnel = self.tunnels.pop(stream, None)
        if tunnel:
            self.selector.unregister(tunnel.udp)
            tunnel.udp.close()

    def serve(self, ready):
        if ready is self.wire.tcp:
            for event in self.wire.receive():
                self.handle(event)
        for tunnel in self.tunnels.values():
            tunnel.pump()
        self.wire.flush()
        if self.wire.is_over:
            for stream in list(self.tunnels):
                self.close(stream)
            self.selector.unregister(self.wire.tcp)
            return self.wire.tcp.close()
        self.selector.modify(self.wire.tcp, wants(self.wire), (self, None))


def server(args):
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.use_certificate_chain_file(args.certificate)
    context.use_privatekey_file(args.certificate_key)
    context.set_alpn_select_callback(lambda _, offered: b"h2" if b"h2" in offered else SSL.NO_OVERLAPPING_PROTOCOLS)
    listener = socket.create_server(("0.0.0.0", 443))
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ, (None, None))
    say(ready=True)
    while True:
        for key, _ in selector.select():
            visitor, tunnel = key.data
            if key.fileobj is listener:
                wire = Wire(listener.accept()[0], context)
                visitor = Visitor(wire, args, selector)
                selector.register(wire.tcp, selectors.EVENT_READ, (visitor, None))
            elif key.fileobj.fileno() < 0:
                continue  # closed meanwhile
            elif tunnel:
                tunnel.from_udp()
            visitor.serve(key.fileobj)


def key(_):
    secret = Ed25519PrivateKey.generate()
    text = secret.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    say(secret=base64.b64encode(text).decode(), public=base64.b64encode(raw(secret.public_key())).decode())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    commands.add_parser("key").set_defaults(run=key)
    ours = commands.add_parser("client")
    ours.set_defaults(run=client)
    ours.add_argument("--server", required=True, help="its address")
    ours.add_argument("--name", required=True, help="the name of its site")
    ours.add_argument("--ca", required=True, help="PEM file of who vouches for it")
    ours.add_argument("--target", required=True, help="HOST:PORT for the datagrams")
    ours.add_argument("--listen", type=int, required=True, help="local UDP port")
    ours.add_argument("--key", help="secret key; without one, no authorization is sent")
    theirs = commands.add_parser("server")
    theirs.set_defaults(run=server)
    theirs.add_argument("--certificate", required=True)
    theirs.add_argument("--certificate-key", required=True)
    theirs.add_argument("--user", required=True, help="public key of the one user")
    for parser_of in (ours, theirs):
        parser_of.add_argument("--strange", action="store_true", help="send capsules that nobody knows, too")
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    sys.exit(main())
