//! Sessions that may be resumed, kept as Chromium keeps them: in memory, the two newest of a server, each used once.
//!
//! What resumes a session goes over the wire in the clear, but came encrypted and is never sent twice, so it tells nobody that two
//! connections are of the same client. Not here: the handshake (`chrome`). A plain hello resumes nothing.

use std::fmt;
#[cfg(feature = "chrome")]
use std::sync::{Mutex, PoisonError};

#[cfg(feature = "chrome")]
use boring::ssl::SslSession;

/// Sessions kept of one server.
#[cfg(feature = "chrome")]
const MOST: usize = 2;

/// The sessions of one server. Their secrets go with them.
#[derive(Default)]
pub struct Tickets {
    #[cfg(feature = "chrome")]
    kept: Mutex<Vec<SslSession>>,
}

#[cfg(feature = "chrome")]
impl Tickets {
    /// Keeps a session, in place of the oldest if there are too many.
    pub(super) fn keep(&self, session: SslSession) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == MOST {
            kept.remove(0);
        }
        kept.push(session);
    }

    /// The newest, which is gone from here with it.
    pub(super) fn take(&self) -> Option<SslSession> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets(…)")
    }
}
