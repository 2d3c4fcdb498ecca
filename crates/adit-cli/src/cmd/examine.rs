//! `adit examine`: captures and interfaces. Not here: questions to servers (`probe`).

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use adit_examine::flow::Traffic;
use adit_examine::flow::capture::{self, End};
use adit_examine::live::Tap;
use adit_examine::{Examination, examine, report};

use crate::args::ExamineArgs;
use crate::exit::{Exit, Failure, Result};
use crate::render::{self, Style};

/// Examines a capture, or what passes an interface until it is told to stop.
pub(super) fn run(args: &ExamineArgs) -> Result<Exit> {
    if let (Some(target), Some(against)) = (&args.probe, &args.against) {
        return super::probe::run(args, target, against);
    }
    let (source, traffic, damaged) = match (&args.capture, &args.live) {
        (Some(path), _) => of_file(path)?,
        (None, Some(interface)) => (interface.clone(), listen(interface, args.seconds)?, false),
        (None, None) => return Err(Failure::usage("name a capture, or an interface with --live")),
    };
    let mut examination = examine(&source, &traffic);
    if damaged {
        examination
            .remarks
            .push("the capture ends in the middle of a packet; what came before was examined".to_owned());
    }
    if let Some(path) = &args.html {
        fs::write(path, report::html(&examination, &traffic))
            .map_err(|e| Failure::usage(format!("cannot write {}: {e}", path.display())))?;
    }
    show(&examination, args.json);
    Ok(if examination.detected { Exit::Failed } else { Exit::Done })
}

fn show(examination: &Examination, json: bool) {
    if json {
        render::line(&report::json(examination));
    } else {
        render::print(&render::examine::text(examination, Style::of_stdout()));
    }
}

fn of_file(path: &Path) -> Result<(String, Traffic, bool)> {
    let shown = path.display().to_string();
    let file = File::open(path).map_err(|e| {
        if e.kind() == std::io::ErrorKind::PermissionDenied {
            Failure::io(format!("cannot read {shown}"), &e)
        } else {
            Failure::usage(format!("cannot read {shown}: {e}"))
        }
    })?;
    let mut traffic = Traffic::new();
    let end = capture::read(file, |frame| traffic.add(&frame)).map_err(|e| Failure::usage(format!("{shown}: {e}")))?;
    Ok((shown, traffic, end == End::Damaged))
}

fn listen(interface: &str, seconds: Option<u32>) -> Result<Traffic> {
    let tap = Tap::open(interface, PATIENCE).map_err(|e| {
        let failure = Failure::io(format!("cannot listen on {interface}"), &e);
        if e.kind() == std::io::ErrorKind::PermissionDenied {
            failure.hint("it needs the privilege CAP_NET_RAW")
        } else {
            Failure::usage(format!("cannot listen on {interface}: {e}")).hint("`ip link` shows the interfaces")
        }
    })?;
    render::note(&match seconds {
        Some(n) => format!("listening on {interface} for {n} seconds, or until Ctrl-C"),
        None => format!("listening on {interface} until Ctrl-C"),
    });
    let stop = Arc::new(AtomicBool::new(false));
    let listener = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || gather(tap, &stop))
    };
    super::block_on(async {
        let ended = async {
            match seconds {
                Some(n) => tokio::time::sleep(Duration::from_secs(n.into())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            () = ended => {}
        }
    })?;
    stop.store(true, Ordering::Relaxed);
    match listener.join() {
        Ok(gathered) => gathered.map_err(|e| Failure::failed(format!("cannot listen on {interface}: {e}"))),
        Err(_) => Err(Failure::failed("the examiner panicked")),
    }
}

/// How long the listener waits before it looks whether it shall stop.
const PATIENCE: Duration = Duration::from_millis(200);

fn gather(mut tap: Tap, stop: &AtomicBool) -> std::io::Result<Traffic> {
    let mut traffic = Traffic::new();
    while !stop.load(Ordering::Relaxed) {
        if let Some(frame) = tap.next_frame()? {
            traffic.add(&frame);
        }
    }
    Ok(traffic)
}
