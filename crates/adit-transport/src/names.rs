//! Where hosts are: as this machine finds out, or as somebody else says who may.
//!
//! Not here: who asks (`server`), and the process that cannot ask by itself (`apart`).

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::Name;
use tower::Service;

/// Addresses of one host that are used, at most.
pub(crate) const MAX_ADDRESSES: usize = 16;

type Found = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Looks names up, for clients that connect to them.
#[derive(Clone)]
pub(crate) struct Names(Arc<dyn Fn(String) -> Found + Send + Sync>);

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names(…)")
    }
}

impl Names {
    /// As this machine finds them.
    pub(crate) fn of_this_machine() -> Self {
        Self::by(|name| async move { look_up(&name).await })
    }

    /// As this says.
    pub(crate) fn by<F>(ask: impl Fn(String) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
    {
        Self(Arc::new(move |name| Box::pin(ask(name))))
    }
}

/// The addresses of a host now, as this machine finds them; not all, if there are very many.
pub(crate) async fn look_up(name: &str) -> io::Result<Vec<IpAddr>> {
    let found = tokio::net::lookup_host((name, 0)).await?;
    let mut addresses: Vec<_> = found.map(|address| address.ip()).take(MAX_ADDRESSES).collect();
    addresses.dedup();
    Ok(addresses)
}

impl Service<Name> for Names {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let found = (self.0)(name.as_str().to_owned());
        Box::pin(async move {
            // The connector puts the port in.
            let addresses: Vec<_> = found.await?.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect();
            Ok(addresses.into_iter())
        })
    }
}
