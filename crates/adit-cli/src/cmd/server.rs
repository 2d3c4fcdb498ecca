//! `adit server`.

use std::time::Duration;

use crate::args::network::{ServerCommand, ServerUpArgs};
use crate::exit::{Exit, Result};
use crate::places::Places;
use crate::render::{self, Style};
use crate::server::{self, Begun, Monitor, Server};
use crate::tunnel;

/// How long the process that decides may take to end, when there is nothing more to say.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Serves, shows, keeps or brings back the network of this machine.
pub(super) fn run(command: &ServerCommand) -> Result<Exit> {
    match command {
        ServerCommand::Up(args) => up(args),
        ServerCommand::Status(args) => super::network::status(args),
        ServerCommand::Log { verify: Some(kept), json, .. } => super::network::verify_log(kept.clone(), *json),
        ServerCommand::Log { most, json, verify: None } => super::network::log(*most, *json),
        ServerCommand::Backup { file } => super::network::backup(file),
        ServerCommand::Restore { file } => {
            if super::network::restore(file)? {
                render::line("The network of the backup is served now.");
            } else {
                super::block_on(server::restore(file, &Places::of_this_process()))??;
                render::line("The network of the backup is there: `adit server up` serves it.");
            }
            Ok(Exit::Done)
        }
    }
}

fn up(args: &ServerUpArgs) -> Result<Exit> {
    let places = Places::of_this_process();
    if args.dry_run {
        return dry_run(args, &places);
    }
    if let Some(monitor) = Monitor::of_this_process()? {
        return decide(args, &places, monitor);
    }
    if crate::client::Client::connect(&places)?.is_none() {
        super::needs_net_admin("serving a network")?;
    }
    super::block_on(server::run_monitor(&places))?
}

/// What the process does that the monitor has started.
fn decide(args: &ServerUpArgs, places: &Places, monitor: Monitor) -> Result<Exit> {
    render::log_to_stderr();
    let server = Server::open(args, places, monitor)?;
    let as_json = args.json;
    let runtime = super::runtime()?;
    let ended = runtime.block_on(server.serve(|begun| show(&begun, as_json)));
    // What still waits for a name server is not waited for.
    runtime.shutdown_timeout(LAST_WORDS);
    ended.map(|()| Exit::Done)
}

fn show(begun: &Begun, as_json: bool) {
    if as_json {
        return render::json_line(begun);
    }
    let style = Style::of_stdout();
    render::print(&render::network::network(&begun.network, style));
    // A secret does not belong into a journal or a file.
    match &begun.invite {
        Some(invite) if render::stdout_is_terminal() => {
            render::print(&format!("\n{}", render::network::invite(invite, None, super::network::now(), style)));
        }
        Some(_) => render::line("Nobody has joined yet: `adit invite` prints a link."),
        None => {}
    }
    if render::stdout_is_terminal() {
        render::line("Serving. Ctrl-C ends it; the next `adit server up` goes on with the same network.");
    }
}

fn dry_run(args: &ServerUpArgs, places: &Places) -> Result<Exit> {
    let (name, served, site) = super::block_on(server::dry_run(args, places))??;
    let asked = tunnel::Asked::of_plan(served, site)?;
    let changes = super::block_on(tunnel::dry_run(&name, asked, places))??;
    if args.json {
        render::json(&serde_json::json!({ "name": name, "changes": changes }));
    } else {
        render::line("`adit server up` would, from top to bottom:");
        let state = places.server_state();
        render::line(&format!("  keep the network's state in {}", state.display()));
        changes.iter().for_each(|change| render::line(&format!("  {change}")));
    }
    Ok(Exit::Done)
}
