//! `adit doctor`.

use crate::args::DoctorArgs;
use crate::doctor::report::DoctorReport;
use crate::doctor::{self, fix};
use crate::exit::{Exit, Failure, Result};
use crate::name::tunnel_name;
use crate::places::Places;
use crate::render::{self, Style};

/// Looks, judges, and mends if that is asked for.
pub(super) fn run(args: &DoctorArgs) -> Result<Exit> {
    let name = args.name.as_deref().map(tunnel_name).transpose()?;
    let places = Places::of_this_process();
    if !args.json && render::stdout_is_terminal() {
        render::note("Looking: a server that does not answer is waited for, up to a minute.");
    }
    let mut report = examine(&places, name.as_deref())?;
    let mut left = report.wrong;
    if args.fix {
        report.fixes = report.proposed().into_iter().map(|fix: fix::Fix| fix.make(&places, args.dry_run)).collect();
        if report.fixes.iter().any(|fixed| fixed.done) {
            // Whether it helped, only another look can tell.
            let after = examine(&places, name.as_deref())?;
            left = after.wrong;
            report = DoctorReport { fixes: report.fixes, ..after };
        }
    }
    if args.json {
        render::json(&report);
    } else {
        render::print(&render::doctor::text(&report, Style::of_stdout()));
    }
    Ok(if left == 0 { Exit::Done } else { Exit::Failed })
}

fn examine(places: &Places, name: Option<&str>) -> Result<DoctorReport> {
    let seen = super::block_on(doctor::look(places, name))??;
    if let Some(name) = name
        && !doctor::knows(&seen, name)
    {
        return Err(Failure::not_connected(format!("{name} is not up, and no profile of this name is kept"))
            .hint("`adit doctor` without a name looks at everything"));
    }
    Ok(doctor::judge(&seen))
}
