//! A web site in a process of its own, which has none of the daemon's rights: started, watched, and started again.
//!
//! That process is this program again (`half`). The listening sockets stay with the daemon, so that visitors wait while there
//! is none; the tunnel and its UDP go on. Not here: what the two say to each other (`adit_transport::apart`), what it gives
//! up (`confine`).

mod half;
mod words;

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use adit::WebElsewhere;
use adit::transport::apart::{self, WebHalf};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

pub(crate) use self::half::serve;
use self::words::{Allowance, repeat};
use crate::render;

/// Tells a process that it is to serve a web site, and for whom; its standard input is the way there.
const WEB_HALF: &str = "ADIT_WEB_HALF";
/// What it is told of the daemon's environment.
const ENVIRONMENT: [&str; 7] =
    ["ADIT_LOG", "NO_COLOR", "TERM", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "RUST_BACKTRACE"];
/// Before another process is started, and twice as long after each further one that does not last.
const PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// A process that served for so long was well.
const LASTING: Duration = Duration::from_secs(60);
/// How soon a process is seen to have ended after it has closed its sockets.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How often it is looked whether the pages are where they were.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Ends when the process of the web site has: at once, if there never was one.
#[derive(Debug)]
pub(crate) struct Web(mpsc::Receiver<Infallible>);

impl Web {
    /// Waits until it and its sockets are gone. The tunnel has to have been stopped.
    pub(crate) async fn ended(&mut self) {
        // Nothing is ever sent.
        let _gone = self.0.recv().await;
    }
}

/// How a tunnel's web site is opened in a process of its own.
pub(crate) fn elsewhere() -> (WebElsewhere, Web) {
    let (alive, gone) = mpsc::channel(1);
    let elsewhere = WebElsewhere::by(async move |server| {
        let (bridge, control, half) = apart::open(server).await?;
        let (first, began) = oneshot::channel();
        tokio::spawn(async move {
            supervise(half, first).await;
            drop(alive);
        });
        began.await.map_err(io::Error::other)??;
        Ok((bridge, control))
    });
    (elsewhere, Web(gone))
}

/// Keeps a process serving until the tunnel is stopped. One that never served is not started again: `first` is told why.
async fn supervise(half: WebHalf, first: oneshot::Sender<io::Result<()>>) {
    let (mut first, mut pause, mut allowance) = (Some(first), PAUSE, Allowance::new());
    loop {
        let begun = Instant::now();
        let error = run(&half, &mut first, &mut allowance).await;
        if let Some(first) = first.take() {
            let _nobody_waits = first.send(Err(error));
            return;
        }
        if begun.elapsed() >= LASTING {
            pause = PAUSE;
        }
        half.ended(&format!("{error}; it is started again"));
        tokio::select! {
            () = half.unwanted() => return,
            () = sleep(pause) => {}
        }
        tracing::warn!("the process of the web site is started again: {error}");
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// Starts one process and has it serve. Returns why it does not any more; it is gone then.
async fn run(
    half: &WebHalf,
    first: &mut Option<oneshot::Sender<io::Result<()>>>,
    allowance: &mut Allowance,
) -> io::Error {
    let (mut child, control) = match start() {
        Ok(started) => started,
        Err(error) => return error,
    };
    half.began(child.id().unwrap_or(0));
    let serving = || {
        if let Some(first) = first.take() {
            let _nobody_waits = first.send(Ok(()));
        }
    };
    let mut said = child.stderr.take();
    let error = tokio::select! {
        error = half.attend(control, serving) => error,
        error = moved(half.site_directory().map(|directory| directory.as_path())) => error,
        never = repeated(&mut said, allowance) => match never {},
    };
    let ends = [io::ErrorKind::UnexpectedEof, io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
    let error = if ends.contains(&error.kind()) {
        // Its end is seen by its sockets first.
        match timeout(LAST_WORDS, child.wait()).await {
            Ok(Ok(status)) => io::Error::other(format!("its process ended: {status}")),
            Ok(Err(_)) | Err(_) => error,
        }
    } else {
        error
    };
    // Fails if it has ended by itself.
    let _gone = child.kill().await;
    if let Some(said) = said {
        // Why it ended, perhaps.
        let _all = timeout(LAST_WORDS, repeat(said, allowance, render::note)).await;
    }
    error
}

fn start() -> io::Result<(Child, UnixStream)> {
    let (control, theirs) = UnixStream::pair()?;
    // This very program, even where another version has been installed in its place.
    let mut command = Command::new("/proc/self/exe");
    command.arg0("adit").arg("web-half").env_clear().env(WEB_HALF, std::process::id().to_string());
    command.envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command.spawn().map_err(|e| io::Error::new(e.kind(), format!("its process cannot be started: {e}")))?;
    Ok((child, control))
}

/// Repeats what the process writes to its standard error, and then waits for ever: its end is heard of elsewhere.
async fn repeated(said: &mut Option<ChildStderr>, allowance: &mut Allowance) -> Infallible {
    if let Some(said) = said {
        repeat(said, allowance, render::note).await;
    }
    std::future::pending().await
}

/// Waits until another directory is where the pages are, as when a link to them is changed: the process may read the one that
/// was there when it began, and no other.
async fn moved(directory: Option<&Path>) -> io::Error {
    let Some(directory) = directory else { return std::future::pending().await };
    let which = async || tokio::fs::metadata(directory).await.ok().map(|found| (found.dev(), found.ino()));
    let first = which().await;
    loop {
        sleep(LOOK_EVERY).await;
        let now = which().await;
        if now.is_some() && now != first {
            return io::Error::other(format!("{} is another directory now", directory.display()));
        }
    }
}
