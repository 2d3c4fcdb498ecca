//! `adit status`.

use std::time::Duration;

use crate::args::StatusArgs;
use crate::client::Client;
use crate::exit::{Exit, Failure, Result};
use crate::name::tunnel_name;
use crate::places::Places;
use crate::render::{self, Style};
use crate::report::StatusReport;
use crate::rpc::Method;

/// Shows it once, or every second.
pub(super) fn run(args: &StatusArgs) -> Result<Exit> {
    let name = args.name.as_deref().map(tunnel_name).transpose()?;
    let places = Places::of_this_process();
    let Some(mut client) = Client::connect(&places)? else {
        return Err(nothing_up(name.as_deref()));
    };
    loop {
        let report: StatusReport = client.call(Method::Status { name: name.clone() })?;
        if report.tunnels.is_empty() {
            return Err(nothing_up(name.as_deref()));
        }
        show(&report, args);
        if !args.watch {
            return Ok(Exit::Done);
        }
        std::thread::sleep(SECOND);
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn show(report: &StatusReport, args: &StatusArgs) {
    match (args.json, args.watch) {
        (true, true) => render::json_line(report),
        (true, false) => render::json(report),
        (false, watch) => {
            let text = render::status::text(report, args.why, Style::of_stdout());
            if watch && render::stdout_is_terminal() { render::redraw(&text) } else { render::print(&text) }
        }
    }
}

fn nothing_up(name: Option<&str>) -> Failure {
    match name {
        Some(name) => super::no_daemon(name),
        None => Failure::not_connected("no tunnel is up").hint("bring one up with `adit up FILE` or `adit up NAME`"),
    }
}
