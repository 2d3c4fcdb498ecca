//! `adit up --foreground`: a tunnel in this process, until Ctrl-C or SIGTERM.

use tokio::signal::unix::{SignalKind, signal};

use super::{Running, Wanted};
use crate::exit::{Failure, Result};
use crate::name::Source;
use crate::places::Places;
use crate::rpc::{Done, Login};

/// Brings it up, waits for a signal, undoes everything. SIGHUP reads the file again.
pub(crate) async fn foreground(source: &Source, login: Option<Login>, places: &Places) -> Result<()> {
    let listen = |kind| signal(kind).map_err(|e| Failure::io("cannot listen for signals", &e));
    let (mut interrupt, mut terminate, mut hangup) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?);
    places.create()?;
    let (running, done) = Running::up(&source.name, Wanted::of_file(&source.file, login)?, places).await?;
    done.notes.iter().for_each(|note| tracing::warn!("{note}"));
    tracing::info!("{} is up; Ctrl-C takes it down", source.name);
    let ended = loop {
        tokio::select! {
            _ = interrupt.recv() => break None,
            _ = terminate.recv() => break None,
            why = running.ended() => break Some(why),
            _ = hangup.recv() => match reload(&running, source).await {
                Ok(done) => done.notes.iter().for_each(|note| tracing::info!("reloaded: {note}")),
                Err(failure) => tracing::error!("not reloaded, and nothing changed: {failure}"),
            },
        }
    };
    running.down().await?;
    match ended {
        None => tracing::info!("{} is down; everything is undone", source.name),
        Some(why) => return Err(Failure::failed(format!("{} ended by itself: {why}", source.name))),
    }
    Ok(())
}

async fn reload(running: &Running, source: &Source) -> Result<Done> {
    running.reload(Wanted::of_file(&source.file, None)?).await
}
