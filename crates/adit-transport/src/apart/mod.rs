//! A web server in another process than its engine: what strangers speak to has none of the rights that tunnels need.
//!
//! ```text
//!   the engine's process                      the web site's process
//!   ────────────────────                      ──────────────────────
//!   Bridge ◀──────── datagrams ─────────▶ carry ── HttpsListener ── visitors
//!   WebHalf ◀─ settings, users, reports ─▶ Half
//! ```
//!
//! The engine's process binds the listening sockets and keeps them, so that visitors wait, and are not refused, while the
//! other process is started anew. It reads the certificate's files and hands their bytes on, and looks up names, so that
//! the other needs neither. Whatever the other process says is taken for an attacker's. Not here: starting a process and
//! taking its rights (`adit-cli`), the web server itself (`server`).

mod bridge;
mod carry;
mod frame;
mod half;
mod keeper;
#[cfg(test)]
mod tests;
mod words;

pub use bridge::Bridge;
pub use half::{Half, Needs};
pub use keeper::{WebHalf, open};

pub(crate) use keeper::Control;
pub(crate) use words::{Pem, Secretly};

/// Listening sockets that one web site may have.
const MAX_SOCKETS: usize = 32;
