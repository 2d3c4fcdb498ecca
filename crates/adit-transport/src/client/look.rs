//! A look at the server, as any visitor of its web site has one: does it answer, with which certificate, and what time is it
//! there. For whoever searches why there is no tunnel; nothing tells this visit from the one that a tunnel begins with.
//!
//! Not here: asking for the tunnel (`tunnel`), what follows from what was seen.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{Mutex, watch};
use tokio::time::timeout;

use super::connect::{Server, TLS_WITHIN};
use super::request::{Asker, first_settings};
use super::run::{Attempt, Connect as _};
use super::wire::Wire;
use crate::config::HttpsClient;
use crate::tls::profile::Profile;
use crate::tls::{self, TlsError, Validity};

/// What a visitor has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// The address that took the connection.
    pub server: Option<SocketAddr>,
    /// When the certificate is good that was shown, if one was.
    pub certificate: Option<Validity>,
    /// What time it was by the server's clock, and by this machine's at the same moment.
    pub clocks: Option<(SystemTime, SystemTime)>,
    /// What kept the visitor from seeing the site.
    pub trouble: Option<Trouble>,
}

/// Why a visitor does not see the site, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// There is no connection to it, or nothing comes over it.
    Unreachable(String),
    /// Whoever answered is not shown to be the right server.
    Untrusted(String),
    /// It answers, and the visit broke off.
    Broken(String),
}

/// Visits the server's web site once. Bounded by the same times as a tunnel's visit.
pub async fn look(config: HttpsClient) -> Looked {
    let (_, network) = watch::channel(0);
    let mut server = Arc::new(Server {
        config,
        profile: Profile::chromium(),
        traffic: Arc::default(),
        tickets: Arc::default(),
        cache: Mutex::new(None),
        network,
    });
    let mut seen = Looked { server: None, certificate: None, clocks: None, trouble: None };
    seen.trouble = visit(&mut server, &mut seen).await.err();
    seen
}

async fn visit(server: &mut Arc<Server>, seen: &mut Looked) -> Result<(), Trouble> {
    let tcp = server.tcp(0).await.map_err(trouble)?;
    seen.server = tcp.peer_addr().ok();
    let host = &server.config.host;
    let greeted = timeout(TLS_WITHIN, tls::connect_seen(tcp, &server.hello())).await;
    let (connected, certificate) =
        greeted.map_err(|_| Trouble::Unreachable(format!("{host} does not answer the TLS hello")))?;
    seen.certificate = certificate;
    let stream = connected.map_err(|error| refusal(&error))?;
    if stream.alpn() != Some(b"h2") {
        return Err(Trouble::Broken(format!("{host} does not speak HTTP/2")));
    }
    let mut wire = Wire::new(stream, &first_settings(&server.profile.http2), Arc::clone(&server.traffic));
    let authority = server.config.authority();
    let asker = Asker { profile: &server.profile, authority: &authority };
    let begun = SystemTime::now();
    let date = server.visit(&mut wire, asker).await.map_err(trouble)?;
    seen.clocks = date.map(|date| (date, begun));
    Ok(())
}

/// A broken connection says nothing of who answered.
fn refusal(error: &TlsError) -> Trouble {
    let words = error.to_string();
    if matches!(error, TlsError::Handshake { .. }) { Trouble::Broken(words) } else { Trouble::Untrusted(words) }
}

fn trouble(attempt: Attempt) -> Trouble {
    match attempt {
        Attempt::Failed(why) | Attempt::Silent(why) => Trouble::Unreachable(why),
        Attempt::Wrong(why) => Trouble::Untrusted(why),
    }
}
