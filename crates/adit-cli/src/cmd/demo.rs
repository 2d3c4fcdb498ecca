//! `adit demo`.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use crate::args::DemoArgs;
use crate::exit::{Exit, Failure, Result};
use crate::render::{self, Style};

/// Runs it and shows what happened.
pub(super) fn run(args: &DemoArgs) -> Result<Exit> {
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signals(stop.clone())?;
    let watched = std::io::stderr().is_terminal() && !args.json;
    let progress = |what: &str| {
        if watched {
            render::note(&format!("  {what} …"));
        }
    };
    let report = crate::demo::run(args.seconds, &stop, &progress)?;
    if args.json {
        render::json(&report);
    } else {
        if watched {
            render::note("");
        }
        render::print(&render::demo::text(&report, Style::of_stdout()));
    }
    Ok(Exit::Done)
}

/// From now on Ctrl-C and SIGTERM ask for an end in order.
fn stop_on_signals(stop: Arc<AtomicBool>) -> Result<()> {
    let failed = |e: std::io::Error| Failure::io("cannot listen for signals", &e);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let listen = |kind| {
        let _inside = runtime.enter();
        signal(kind).map_err(failed)
    };
    let (mut interrupt, mut terminate, mut hangup) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?);
    let wait = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        stop.store(true, Ordering::Relaxed);
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait).map_err(failed)?;
    Ok(())
}
