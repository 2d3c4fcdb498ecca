//! Metrics for Prometheus and whatever else reads OpenMetrics (docs/spec/metrics.md), for those who ask for them.
//!
//! Who serves them has no rights, and opened the listener before it gave them up. Not here: the text (`text`), which there
//! are (`page`), the connections (`serve`), what is counted for them alone (`tally`).

mod page;
mod serve;
mod tally;
mod text;

use std::net::TcpListener as StdListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use tokio::net::TcpListener;

use self::page::Seen;
pub(super) use self::serve::listen;
pub(super) use self::tally::Tally;
use super::desk::{Desk, now};

/// Answers whoever asks, for ever. Inside a tokio runtime.
pub(super) async fn serve(listener: StdListener, desk: Arc<Desk>) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(e) => return tracing::warn!("metrics are not served: {e}"),
    };
    let (entries, begun) = (Arc::new(AtomicU64::new(0)), now());
    let following = follow(desk.clone(), entries.clone());
    let page = move || {
        let (model, usage) = (desk.service.model(), desk.service.usage());
        let tunnel = desk.seen.lock().unwrap_or_else(PoisonError::into_inner);
        page::of(&Seen {
            model: &model,
            usage: &usage,
            tunnel: tunnel.as_ref(),
            runs: desk.link.trouble().is_none(),
            tally: &desk.tally,
            database_up: desk.service.is_database_up(),
            behind: desk.service.behind(),
            audit_entries: entries.load(Ordering::Relaxed),
            begun,
            now: now(),
        })
    };
    tokio::join!(serve::serve(listener, page), following);
}

/// Keeps the number of the log's newest entry: so no scraper makes the database work, or waits for it.
async fn follow(desk: Arc<Desk>, entries: Arc<AtomicU64>) {
    let mut models = desk.service.watch();
    loop {
        models.mark_unchanged();
        if let Ok(rows) = desk.service.audit(None, 1).await {
            entries.store(rows.first().map_or(0, |row| row.id), Ordering::Relaxed);
        }
        if models.changed().await.is_err() {
            return;
        }
    }
}
