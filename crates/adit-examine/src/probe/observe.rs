//! A probe carried out against one server.
//!
//! Not here: what the answer means (`answer`), which probes there are (`catalog`).

use std::net::SocketAddr;
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use rustls::ClientConnection;
use tokio::time::{Instant, sleep};

use super::Patience;
use super::answer::{self, Observation};
use super::frames::{self, END_STREAM, Frames};
use super::script::{Change, Channel, Concealed, Fault, Hello, Probe, Step, Until};
use super::talk::{self, End, Talk};

/// After an answer is complete: what else may come with it.
const SETTLE: Duration = Duration::from_millis(20);
/// The most records that a server is offered until it refuses.
const MAX_USELESS: usize = 48;

/// Asks one server.
pub(super) async fn observe(probe: &Probe, server: SocketAddr, patience: Patience) -> Observation {
    match carry_out(probe, server, patience).await {
        Ok(observation) => observation,
        Err(problem) => Observation::failed(&problem),
    }
}

async fn carry_out(probe: &Probe, server: SocketAddr, patience: Patience) -> Result<Observation, String> {
    let (mut talk, ready) = match &probe.channel {
        Channel::Clear => (dial(server, None, patience).await?, true),
        Channel::Tls(hello) => {
            let session = begin(hello, server, patience).await?;
            let mut talk = dial(server, Some(session), patience).await?;
            let ready = talk.handshake(patience.connect).await;
            (talk, ready)
        }
        Channel::Replay { hello, request, change } => {
            let captured = capture(hello, request, server, patience).await?;
            let mut talk = dial(server, None, patience).await?;
            replay(&mut talk, captured, *change).await;
            (talk, true)
        }
    };
    let mut useless = None;
    if ready {
        for step in &probe.steps {
            useless = useless.or(take_step(&mut talk, step, patience).await?);
        }
    }
    listen(&mut talk, probe.until, patience).await;
    let is_h2 = matches!(&probe.channel, Channel::Tls(hello) if hello.alpn.first() == Some(&&b"h2"[..]));
    Ok(answer::read(&talk, ready, is_h2, probe.until, useless))
}

async fn dial(server: SocketAddr, tls: Option<ClientConnection>, patience: Patience) -> Result<Talk, String> {
    Talk::open(server, tls, patience.connect).await.map_err(|e| format!("no connection: {}", e.kind()))
}

/// A session; one that resumes has had its predecessor.
async fn begin(hello: &Hello, server: SocketAddr, patience: Patience) -> Result<ClientConnection, String> {
    let words = |e: rustls::Error| e.to_string();
    let config = talk::config(hello).map_err(words)?;
    if hello.resumes {
        let mut first = dial(server, Some(talk::session(&config, hello).map_err(words)?), patience).await?;
        if first.handshake(patience.connect).await {
            listen(&mut first, Until::Quiet, patience).await;
        }
    }
    talk::session(&config, hello).map_err(words)
}

/// What a client sends in an ordinary session.
async fn capture(hello: &Hello, request: &[u8], server: SocketAddr, patience: Patience) -> Result<Vec<u8>, String> {
    let session = begin(hello, server, patience).await?;
    let mut talk = dial(server, Some(session), patience).await?;
    if talk.handshake(patience.connect).await {
        talk.send(request).await;
        let _answered = talk.read(patience.quiet).await;
    }
    Ok(talk.sent)
}

async fn replay(talk: &mut Talk, mut captured: Vec<u8>, change: Change) {
    match change {
        Change::Nothing => {}
        Change::Truncated(place) => captured.truncate(captured.len() * place / 1000),
        Change::Flipped { place, bit } => {
            let at = (captured.len() * place / 1000).min(captured.len() - 1);
            captured[at] ^= 1 << bit;
        }
        Change::Doubled => captured.extend_from_within(..),
        Change::Later(pause) => sleep(pause).await,
    }
    talk.send_beneath(&captured).await;
}

/// One step. What it counts, if it counts something.
async fn take_step(talk: &mut Talk, step: &Step, patience: Patience) -> Result<Option<usize>, String> {
    match step {
        Step::Send(bytes) => talk.send(bytes).await,
        Step::Beneath(bytes) => talk.send_beneath(bytes).await,
        Step::Concealed(concealed) => {
            let bytes = authorized(talk, concealed).ok_or("the session gives no keying material")?;
            talk.send(&bytes).await;
        }
        Step::Pause(pause) => sleep(*pause).await,
        Step::Hear => hear(talk, patience).await,
        Step::CloseNotify => talk.close_notify().await,
        Step::HalfClose => talk.half_close().await,
        Step::UntilRefused(record) => return Ok(Some(count_until_refused(talk, record, patience).await)),
    }
    Ok(None)
}

/// Reads until a ping of HTTP/2 is answered, or there is nothing more to read.
async fn hear(talk: &mut Talk, patience: Patience) {
    while !frames::answers_ping(&talk.seen.plain) && talk.read(patience.quiet).await {}
}

/// How many times a record is taken until the server says that it is enough.
async fn count_until_refused(talk: &mut Talk, record: &[u8], patience: Patience) -> usize {
    // What belongs to the answer so far.
    while talk.read(patience.quiet).await {}
    for count in 1..=MAX_USELESS {
        let before = talk.seen.plain.len() + talk.seen.records.len();
        talk.send_beneath(record).await;
        while talk.read(patience.quiet / 8).await {}
        if talk.seen.end != End::Open || talk.seen.plain.len() + talk.seen.records.len() != before {
            return count;
        }
    }
    MAX_USELESS + 1
}

async fn listen(talk: &mut Talk, until: Until, patience: Patience) {
    let quiet = if until == Until::Idle { patience.idle } else { patience.quiet };
    let mut settled = None;
    loop {
        if let Until::Streams(count) = until
            && settled.is_none()
            && frames::is_complete(&talk.seen.plain, count)
        {
            settled = Some(Instant::now() + SETTLE);
        }
        let wait = settled.map_or(quiet, |at| at.saturating_duration_since(Instant::now()));
        if !talk.read(wait).await {
            return;
        }
    }
}

/// RFC 9729: a request that is signed for this session by a key that the server does not know.
fn authorized(talk: &Talk, request: &Concealed) -> Option<Vec<u8>> {
    const SCHEME: u16 = 0x0807;
    let key = Ed25519KeyPair::from_seed_unchecked(&request.seed).ok()?;
    let public = key.public_key().as_ref();
    let mut context = SCHEME.to_be_bytes().to_vec();
    for part in [&public[..16], public, b"https", request.host.as_bytes()] {
        // None of them is longer than one byte can say.
        context.push(u8::try_from(part.len()).ok().filter(|len| *len < 64)?);
        context.extend_from_slice(part);
    }
    context.extend_from_slice(&443_u16.to_be_bytes());
    context.push(0);
    if request.fault == Fault::Replayed {
        context.reverse();
    }
    let mut exported = [0; 48];
    let label = b"EXPORTER-HTTP-Concealed-Authentication";
    talk.tls.as_ref()?.export_keying_material(&mut exported, label, Some(&context)).ok()?;
    let mut signed = vec![b' '; 64];
    signed.extend_from_slice(b"HTTP Concealed Authentication\0");
    signed.extend_from_slice(&exported[..32]);
    let mut proof = key.sign(&signed).as_ref().to_vec();
    match request.fault {
        Fault::Verification => exported[40] ^= 1,
        Fault::Signature => proof[7] ^= 1,
        Fault::Nothing | Fault::Replayed => {}
    }
    let text = |bytes: &[u8]| Base64UrlUnpadded::encode_string(bytes);
    let value = format!(
        "Concealed k={}, a={}, p={}, s={SCHEME}, v={}",
        text(&public[..16]),
        text(public),
        text(&proof),
        text(&exported[32..])
    );
    let mut fields = request.fields.clone();
    fields.push(("authorization".to_owned(), value));
    let frames = Frames::default().request(request.stream, if request.ends { END_STREAM } else { 0 }, &fields);
    Some(frames.ping())
}
