//! `adit up FILE|NAME`.

use std::time::{Duration, Instant};

use adit::profile::file;
use serde::Serialize;

use super::login;
use crate::args::UpArgs;
use crate::client::Client;
use crate::exit::{Exit, Failure, Result};
use crate::name::{self, Source};
use crate::places::Places;
use crate::report::{State, StatusReport, TunnelReport};
use crate::rpc::{Done, Method};
use crate::{render, tunnel};

/// Brings it up, or says what that would do.
pub(super) fn run(args: &UpArgs) -> Result<Exit> {
    let source = match Source::find(&args.source) {
        Err(failure) if failure.kind == Exit::Privilege && !args.dry_run && !args.foreground => {
            return unread(args, failure);
        }
        found => found?,
    };
    if name::is_openvpn(&source.file) {
        return openvpn(args, &source);
    }
    // Read here first, so that a wrong line is found before anything is started, whoever is to do it.
    let loaded = file::load(&source.file).map_err(|e| super::load_failure(&e))?;
    let mut notes: Vec<String> =
        loaded.findings.iter().filter(|f| f.is_trouble()).map(|f| f.in_file(&source.file).to_string()).collect();
    notes.extend(loaded.exposed.as_ref().map(ToString::to_string));
    notes.iter().for_each(|note| render::warning(note));
    if args.dry_run {
        return dry_run(args, &source, loaded);
    }
    let places = Places::of_this_process();
    if args.foreground {
        super::needs_net_admin("bringing a tunnel up")?;
        render::log_to_stderr();
        return super::block_on(tunnel::foreground(&source, None, &places))?.map(|()| Exit::Done);
    }
    show(args, &bring_up(&source, &places)?)
}

/// So many questions of a server in a row are answered.
const MAX_QUESTIONS: usize = 5;

/// A client of an OpenVPN server.
fn openvpn(args: &UpArgs, source: &Source) -> Result<Exit> {
    if tunnel::is_of_server(&source.file)? {
        return openvpn_server(args, source);
    }
    let asked = tunnel::AskedOpenVpn::of_file(&source.file, None)?;
    asked.notes.iter().for_each(|note| render::warning(note));
    if args.dry_run {
        let changes = tunnel::dry_run_openvpn(&source.name, &asked);
        return show_dry_run(args, source, changes);
    }
    let places = Places::of_this_process();
    if args.foreground || Client::connect(&places)?.is_none() {
        // Before anybody is asked for a password.
        super::needs_net_admin("bringing a tunnel up")?;
    }
    // Nobody is asked for a password that is not needed.
    if !args.foreground && already_up(source, &places)?.is_some() {
        return Err(is_already_up(source));
    }
    let login = asked.question().map(|question| login::ask(&question, &source.name)).transpose()?;
    if args.foreground {
        render::log_to_stderr();
        return super::block_on(tunnel::foreground(source, login, &places))?.map(|()| Exit::Done);
    }
    let mut client = Client::connect_or_start(&places)?;
    let file = source.file.clone();
    let up = |login| Method::Up { name: source.name.clone(), file: file.clone(), login };
    let mut brought: Result<Done> = client.call(up(login.clone()));
    for _ in 0..MAX_QUESTIONS {
        let Err(Failure { challenge: Some(challenge), .. }) = &brought else { break };
        let login = login::answer(challenge, login.as_ref())?;
        brought = client.call(up(Some(login)));
    }
    let done = brought?;
    let report: StatusReport = client.call(Method::Status { name: Some(source.name.clone()) })?;
    let tunnel = report.tunnels.into_iter().next().unwrap_or_else(|| TunnelReport::empty(&source.name));
    show(args, &IsUp::of(source, done.notes, &tunnel))
}

/// A server of OpenVPN clients.
fn openvpn_server(args: &UpArgs, source: &Source) -> Result<Exit> {
    let asked = tunnel::AskedServer::of_file(&source.file)?;
    asked.notes.iter().for_each(|note| render::warning(note));
    if args.dry_run {
        return show_dry_run(args, source, asked.changes(&source.name));
    }
    let places = Places::of_this_process();
    if args.foreground {
        super::needs_net_admin("bringing a tunnel up")?;
        render::log_to_stderr();
        return super::block_on(tunnel::foreground(source, None, &places))?.map(|()| Exit::Done);
    }
    if already_up(source, &places)?.is_some() {
        return Err(is_already_up(source));
    }
    let mut up = bring_up(source, &places)?;
    // Said above, before anything was done.
    up.notes.retain(|note| !asked.notes.contains(note));
    show(args, &up)
}

fn is_already_up(source: &Source) -> Failure {
    Failure::failed(format!("{} is already up", source.name))
        .hint(format!("`adit status {0}` shows how it is; `adit down {0}` takes it down", source.name))
}

/// A tunnel whose file is for root alone, by its name: the daemon, if it runs, may bring it up for members of its group.
fn unread(args: &UpArgs, failure: Failure) -> Result<Exit> {
    let places = Places::of_this_process();
    let Some(source) = Source::kept(&args.source) else { return Err(failure) };
    if !Client::connect(&places).is_ok_and(|client| client.is_some()) {
        return Err(failure);
    }
    show(args, &bring_up(&source, &places)?)
}

fn show(args: &UpArgs, up: &IsUp) -> Result<Exit> {
    if args.json {
        render::json(up);
    } else {
        up.lines().iter().for_each(|line| render::line(line));
    }
    Ok(Exit::Done)
}

/// What `--dry-run --json` says.
#[derive(Serialize)]
struct DryRun {
    name: String,
    changes: Vec<String>,
}

fn dry_run(args: &UpArgs, source: &Source, loaded: file::Loaded) -> Result<Exit> {
    let changes =
        super::block_on(tunnel::dry_run(&source.name, tunnel::Asked::of_loaded(loaded), &Places::of_this_process()))??;
    show_dry_run(args, source, changes)
}

fn show_dry_run(args: &UpArgs, source: &Source, changes: Vec<String>) -> Result<Exit> {
    if args.json {
        render::json(&DryRun { name: source.name.clone(), changes });
    } else {
        render::line(&format!("`adit up {}` would, from top to bottom:", args.source));
        changes.iter().for_each(|change| render::line(&format!("  {change}")));
    }
    Ok(Exit::Done)
}

/// A tunnel that was brought up: what `--json` says.
#[derive(Serialize)]
pub(super) struct IsUp {
    name: String,
    notes: Vec<String>,
    handshakes: usize,
    peers: usize,
    /// Of an OpenVPN client: the server it is connected to, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    openvpn: Option<Connected>,
    /// Of an OpenVPN server: where it serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    openvpn_server: Option<Serves>,
}

/// Where an OpenVPN server serves.
#[derive(Serialize)]
struct Serves {
    transport: String,
    port: Option<u16>,
    addresses: Vec<String>,
}

/// Whether an OpenVPN client is connected, and where to.
#[derive(Serialize)]
struct Connected {
    connected: bool,
    server: Option<String>,
    addresses: Vec<String>,
}

impl IsUp {
    fn of(source: &Source, notes: Vec<String>, tunnel: &TunnelReport) -> Self {
        let handshakes = tunnel.peers.iter().filter(|p| p.has_session).count();
        let openvpn = tunnel.openvpn.as_ref().map(|client| Connected {
            connected: tunnel.state == State::Connected,
            server: client.server.clone(),
            addresses: tunnel.addresses.clone(),
        });
        let notes = notes.into_iter().chain(openvpn.iter().flat_map(|_| tunnel.notes.iter().cloned())).collect();
        let openvpn_server = tunnel.openvpn_server.as_ref().map(|_| Serves {
            transport: tunnel.transport.clone(),
            port: tunnel.listen_port,
            addresses: tunnel.addresses.clone(),
        });
        Self { name: source.name.clone(), notes, handshakes, peers: tunnel.peers.len(), openvpn, openvpn_server }
    }

    /// The same for people.
    pub(super) fn lines(&self) -> Vec<String> {
        let how = match (&self.openvpn, &self.openvpn_server) {
            (_, Some(server)) => server.sentence(),
            (None, None) => handshake_sentence(self.handshakes, self.peers),
            (Some(Connected { connected: true, server: Some(server), addresses }), None) => {
                format!("connected to {server} as {}", addresses.join(", "))
            }
            (Some(_), None) => "it is not connected yet".to_owned(),
        };
        let first = format!("{} is up; {how}", self.name);
        std::iter::once(first).chain(self.notes.iter().cloned()).collect()
    }
}

impl Serves {
    fn sentence(&self) -> String {
        let port = self.port.map(|port| format!(" port {port}")).unwrap_or_default();
        format!("it serves OpenVPN clients on {}{port} as {}", self.transport, self.addresses.join(", "))
    }
}

/// How it is, if it is up from this file already.
pub(super) fn already_up(source: &Source, places: &Places) -> Result<Option<IsUp>> {
    let Some(mut client) = Client::connect(places)? else { return Ok(None) };
    let report: StatusReport = match client.call(Method::Status { name: Some(source.name.clone()) }) {
        Ok(report) => report,
        Err(failure) if failure.kind == Exit::NotConnected => return Ok(None),
        Err(failure) => return Err(failure),
    };
    let ours = |tunnel: &TunnelReport| tunnel.state != State::Failed && tunnel.file.as_ref() == Some(&source.file);
    Ok(report.tunnels.into_iter().find(ours).map(|tunnel| IsUp::of(source, Vec::new(), &tunnel)))
}

/// Has the daemon bring it up, and waits for a first handshake.
pub(super) fn bring_up(source: &Source, places: &Places) -> Result<IsUp> {
    if Client::connect(places)?.is_none() {
        super::needs_net_admin("bringing a tunnel up")?;
    }
    let mut client = Client::connect_or_start(places)?;
    let done: Done = client.call(Method::Up { name: source.name.clone(), file: source.file.clone(), login: None })?;
    let tunnel = wait_for_handshake(&mut client, &source.name)?;
    Ok(IsUp::of(source, done.notes, &tunnel))
}

/// How long a first handshake is waited for. It is no failure if there is none: nobody may have anything to say.
const HANDSHAKE_TIME: Duration = Duration::from_millis(1500);

fn wait_for_handshake(client: &mut Client, name: &str) -> Result<TunnelReport> {
    let deadline = Instant::now() + HANDSHAKE_TIME;
    loop {
        let report: StatusReport = client.call(Method::Status { name: Some(name.to_owned()) })?;
        let tunnel = report.tunnels.into_iter().next().unwrap_or_else(|| TunnelReport::empty(name));
        // Only a peer that is told to keep in touch speaks before there is something to send.
        let expected = tunnel.peers.iter().any(|p| p.endpoint.is_some() && p.persistent_keepalive > 0);
        let reached = tunnel.peers.iter().any(|p| p.has_session);
        if reached || !expected || Instant::now() > deadline {
            return Ok(tunnel);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn handshake_sentence(handshakes: usize, peers: usize) -> String {
    match (handshakes, peers) {
        (0, 0) => "it has no peers".to_owned(),
        (0, _) => "no handshake yet: that comes with the first packet".to_owned(),
        (n, peers) if n == peers => "the handshake is completed".to_owned(),
        (n, peers) => format!("handshakes are completed with {n} of {peers} peers"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handshake_is_said_as_it_is() {
        assert_eq!(handshake_sentence(0, 0), "it has no peers");
        assert_eq!(handshake_sentence(1, 1), "the handshake is completed");
        assert_eq!(handshake_sentence(1, 3), "handshakes are completed with 1 of 3 peers");
        assert!(handshake_sentence(0, 2).starts_with("no handshake yet"));
    }
}
