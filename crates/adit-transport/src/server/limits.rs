//! The bounds and patience of the web server: one table, the same for everyone who connects.

use std::time::Duration;

/// Connections at a time. For a further one that goes which has waited longest for its client; if none does, further ones
/// wait in the kernel's queue. Each costs less than 80 KiB while nothing is held for it.
pub(crate) const CONNECTIONS: usize = 2048;
/// Bytes that all connections together hold for their clients: answers that are not taken, heads of requests without an
/// answer, bodies that are not read. With more, those connections end that hold the oldest.
pub(super) const HELD: usize = 64 << 20;
/// Of these, what is queued on one connection; its further answers wait.
pub(super) const CONNECTION_HELD: usize = 1 << 20;
/// TLS handshakes at a time. For a further one that goes which has taken longest.
pub(super) const HANDSHAKES: usize = 1024;
/// From the connection to the end of its TLS handshake.
pub(super) const HANDSHAKE_TIME: Duration = Duration::from_secs(60);
/// From the first byte of a request to the end of its head (HTTP/1.1), and until the HTTP/2 preface.
pub(super) const HEAD_TIME: Duration = Duration::from_secs(60);
/// Without any request, until a connection is closed.
pub(super) const IDLE_TIME: Duration = Duration::from_secs(75);
/// Between two pieces of a body that somebody waits for, either way.
pub(super) const BODY_TIME: Duration = Duration::from_secs(60);
/// While not a byte can be written to a connection.
pub(super) const WRITE_TIME: Duration = Duration::from_secs(60);
/// Without a packet from a client: its kernel is asked whether it is there (TCP keep-alive), first and between questions. A
/// connection with a tunnel may rest for hours; all others end before.
pub(super) const ASK_AFTER: Duration = Duration::from_secs(120);
pub(super) const ASK_EVERY: Duration = Duration::from_secs(30);
/// Without an acknowledgement of what was sent or asked: the client has vanished (RFC 5482).
pub(super) const GONE_AFTER: Duration = Duration::from_secs(240);
/// From the farewell of a connection to its end.
pub(super) const LINGER_TIME: Duration = Duration::from_secs(10);

/// Requests at a time on one HTTP/2 connection.
pub(super) const STREAMS: u32 = 128;
/// The largest head of a request.
pub(super) const HEAD_BYTES: u32 = 32 * 1024;
/// What a client may send on a stream, and on a connection, before it is read.
pub(super) const WINDOW: u32 = 256 * 1024;
/// As [`WINDOW`], on a connection with a tunnel: enough for 100 Mbit/s at 300 ms.
pub(super) const TUNNEL_WINDOW: u32 = 4 * 1024 * 1024;
/// What waits in one HTTP/2 stream to be written. Four times as much gives 5 to 11 % more towards a client of a fast line, and
/// makes everything later on a slow one.
pub(super) const SEND_BUFFER: usize = 64 * 1024;
/// What is read of a file at a time.
pub(super) const FILE_PIECE: usize = 16 * 1024;
/// What an answer in progress takes besides its bytes: its task, its stream, its file or its connection to the site behind.
pub(super) const ANSWER: usize = 16 * 1024;
/// What is gathered into one write of a connection: four TLS records.
pub(super) const GATHER: usize = 64 * 1024;
/// What waits in the kernel to be sent for the first time. More would only make everything later.
pub(super) const UNSENT: u32 = 128 * 1024;
/// Streams that a client opened and reset before they were looked at.
pub(super) const PENDING_RESETS: usize = 20;
/// Streams that we had to reset because of errors in them.
pub(super) const ERROR_RESETS: usize = 64;
/// Streams of one user at a time; with one more the oldest ends.
pub(super) const TUNNELS_OF_USER: usize = 8;
/// Streams of all users together.
pub(crate) const TUNNELS: usize = 2048;
