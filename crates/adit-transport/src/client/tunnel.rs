//! Asks for the tunnel, and says in words why there is none.
//!
//! Not here: proofs of identity themselves (`concealed`, `token`), what travels in the tunnel (`pump`).

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

use super::request::{Asker, masque_path};
use super::wire::Wire;
use crate::concealed::{self, Exported, Origin, SigningKey};
use crate::config::{Identity, Route};
use crate::h2::{Event, Field, Refused, StreamId};
use crate::token;

/// Why a server that was reached and is the right one gives us no tunnel.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoTunnel {
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error(
        "the server takes no tunnels over HTTP/2 (no extended CONNECT)\n  hint: is it adit that answers there, and not another web server in front of it?"
    )]
    NoConnect,
    #[error(
        "the server answered {status} as to a stranger\n  hint: does it know this device's key, and are both clocks right?"
    )]
    Stranger { status: String },
    #[error("the key or token of this device cannot be used: {0}")]
    Identity(&'static str),
    #[error("the request could not be made: {0}")]
    Refused(#[from] Refused),
}

/// What is asked of TLS: key material of the connection.
pub(super) trait Exporter {
    fn export(&self, out: &mut [u8], context: &[u8]) -> io::Result<()>;
}

impl Exporter for crate::tls::TlsStream {
    fn export(&self, out: &mut [u8], context: &[u8]) -> io::Result<()> {
        let label = str::from_utf8(concealed::EXPORTER_LABEL).map_err(io::Error::other)?;
        self.export_keying_material(out, label, Some(context))
    }
}

/// Asks for the tunnel and waits for the answer.
pub(super) async fn open<S>(
    wire: &mut Wire<S>,
    asker: Asker<'_>,
    identity: &Identity,
    route: &Route,
) -> Result<StreamId, NoTunnel>
where
    S: AsyncRead + AsyncWrite + Unpin + Exporter,
{
    let stream = match route {
        Route::ConnectUdp { target, port } => {
            wire.flush().await?;
            // RFC 8441 §3: not before the server has said that it takes it.
            while !wire.settled {
                wire.event().await?;
            }
            if !wire.connection.connect_protocol() {
                return Err(NoTunnel::NoConnect);
            }
            let authorization = concealed(&wire.stream, identity, asker.authority)?;
            asker.connect_udp(&mut wire.connection, &masque_path(target, *port), &authorization)?
        }
        Route::Grpc { path } => {
            let authorization = bearer(identity)?;
            asker.grpc(&mut wire.connection, path, &authorization)?
        }
    };
    answer(wire, stream).await
}

async fn answer<S>(wire: &mut Wire<S>, ours: StreamId) -> Result<StreamId, NoTunnel>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match wire.event().await? {
            Event::Head { stream, fields, end } if stream == ours => {
                let status = fields.iter().find(|Field { name, .. }| name == ":status");
                let status = status.map_or("", |field| field.value.as_str());
                match status {
                    "200" if !end => return Ok(ours),
                    // Something before the answer, such as early hints.
                    _ if status.starts_with('1') && !end => {}
                    _ => return Err(NoTunnel::Stranger { status: status.into() }),
                }
            }
            Event::Reset { stream, code } if stream == ours => {
                return Err(NoTunnel::Stranger { status: format!("with a reset (code {code})") });
            }
            Event::GoAway { last, code } if last < ours => {
                return Err(NoTunnel::Stranger { status: format!("by closing the connection (code {code})") });
            }
            Event::Head { .. } | Event::Data { .. } | Event::Reset { .. } => {}
            Event::GoAway { .. } | Event::Settings | Event::Pong => {}
        }
    }
}

/// RFC 9729: signs key material of this very connection.
fn concealed(tls: &impl Exporter, identity: &Identity, authority: &str) -> Result<String, NoTunnel> {
    let key = SigningKey::from_seed(identity.seed.expose()).ok_or(NoTunnel::Identity("not an Ed25519 key"))?;
    let origin = Origin::https(authority).ok_or(NoTunnel::Identity("the server's name is none"))?;
    let mut exported = Zeroizing::new([0; concealed::EXPORTED_LEN]);
    tls.export(&mut *exported, &key.exporter_context(&origin))?;
    Ok(key.authorize(&Exported::new(*exported)))
}

fn bearer(identity: &Identity) -> Result<String, NoTunnel> {
    let secret = identity.token_secret.as_ref().ok_or(NoTunnel::Identity("there is no token secret"))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut nonce = [0; token::NONCE_LEN];
    getrandom::fill(&mut nonce).map_err(|_| NoTunnel::Identity("the system gives no random numbers"))?;
    Ok(token::authorize(secret, now, nonce))
}
