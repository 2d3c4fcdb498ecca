//! The only place that prints. Everything else returns values.
//!
//! How a value looks is a pure function in `status`, `check`, `plan` and `demo`; this file owns standard output and
//! standard error, and knows whether colours are welcome.

pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod examine;
pub(crate) mod network;
pub(crate) mod status;
pub(crate) mod units;

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;
use tracing_subscriber::EnvFilter;

use crate::exit::Failure;

/// How to emphasise, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Text only: for files, pipes, and people who set NO_COLOR.
    Plain,
    /// With colours.
    Colour,
}

/// What a piece of text is, so that it may have a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Well.
    Good,
    /// Look at this.
    Warning,
    /// Wrong.
    Bad,
    /// A name.
    Strong,
    /// Less important.
    Faint,
}

impl Style {
    /// For standard output.
    pub(crate) fn of_stdout() -> Self {
        Self::choose(io::stdout().is_terminal(), std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()))
    }

    /// For standard error.
    pub(crate) fn of_stderr() -> Self {
        Self::choose(io::stderr().is_terminal(), std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()))
    }

    fn choose(terminal: bool, no_color: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        if terminal && !no_color && !dumb { Self::Colour } else { Self::Plain }
    }

    /// The text in its tone.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "1;31",
            Tone::Strong => "1",
            Tone::Faint => "2",
        };
        match self {
            Self::Plain => text.to_owned(),
            Self::Colour => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

/// Writes text to standard output. A reader that went away is not an error.
pub(crate) fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _gone = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes a line to standard output.
pub(crate) fn line(text: &str) {
    print(&format!("{text}\n"));
}

/// Writes a value as indented JSON to standard output.
pub(crate) fn json(value: &impl Serialize) {
    line(&serde_json::to_string_pretty(value).unwrap_or_else(|_| "null".to_owned()));
}

/// Writes a value as one line of JSON to standard output.
pub(crate) fn json_line(value: &impl Serialize) {
    line(&serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned()));
}

/// Whether standard output still has a reader. Asked by what would print for ever.
pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Clears the terminal and shows this from its top.
pub(crate) fn redraw(text: &str) {
    // Home, text with every line's rest erased, then everything below: no flicker.
    let text = text.replace('\n', "\x1b[K\n");
    print(&format!("\x1b[H{text}\x1b[J"));
}

/// What the reader of the command line has to say: help to standard output, mistakes to standard error.
pub(crate) fn clap(message: &clap::Error) {
    let _gone = message.print();
}

/// From now on, what happens is said on standard error; how much, `ADIT_LOG` says.
pub(crate) fn log_to_stderr() {
    let filter = log_filter(std::env::var("ADIT_LOG").ok().as_deref());
    let ansi = Style::of_stderr() == Style::Colour;
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi).with_target(false).with_writer(io::stderr);
    // Journald has a clock of its own.
    let to_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let _already_set = if to_journal { log.without_time().try_init() } else { log.try_init() };
}

/// What a person wants to read, without what strangers can make libraries say unless those are named.
fn log_filter(wanted: Option<&str>) -> EnvFilter {
    let with = |wanted: &str| EnvFilter::try_new(format!("{},{wanted}", adit::transport::log::SILENT));
    // What cannot be read is as if nothing had been said.
    let given = wanted.filter(|text| !text.trim().is_empty()).and_then(|text| with(text).ok());
    given.or_else(|| with("info").ok()).unwrap_or_else(|| EnvFilter::new("info"))
}

/// Writes a text to standard error as it is.
pub(crate) fn note(text: &str) {
    let mut err = io::stderr().lock();
    let _gone = writeln!(err, "{text}");
}

/// Writes a warning to standard error.
pub(crate) fn warning(text: &str) {
    note(&format!("{} {text}", Style::of_stderr().paint(Tone::Warning, "warning:")));
}

/// Writes why a command failed to standard error.
pub(crate) fn failure(failure: &Failure) {
    note(&failure_text(failure, Style::of_stderr()));
}

fn failure_text(failure: &Failure, style: Style) -> String {
    let mut text = format!("{} {}", style.paint(Tone::Bad, "error:"), failure.message);
    for hint in &failure.hints {
        let _ = write!(text, "\n  {} {hint}", style.paint(Tone::Faint, "hint:"));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn colours_are_for_terminals_and_only_where_welcome() {
        assert_eq!(Style::choose(false, false), Style::Plain);
        assert_eq!(Style::choose(true, true), Style::Plain);
        assert_eq!(Style::Plain.paint(Tone::Bad, "x"), "x");
        assert_eq!(Style::Colour.paint(Tone::Bad, "x"), "\x1b[1;31mx\x1b[0m");
    }

    #[test]
    fn the_log_has_nothing_of_libraries_that_strangers_make_talk_unless_they_are_named() {
        use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
        // Who is let through.
        let shown = |wanted: Option<&str>| {
            let seen = Arc::new(Mutex::new(Vec::new()));
            let log = Seen(Arc::clone(&seen)).with_filter(log_filter(wanted));
            tracing::subscriber::with_default(tracing_subscriber::registry().with(log), || {
                tracing::warn!(target: "h2::proto::streams", "a stranger");
                tracing::warn!(target: "adit::tunnel", "we");
                tracing::debug!(target: "adit::tunnel", "we, to who asked");
            });
            std::mem::take(&mut *seen.lock().unwrap())
        };
        let (we, all) = (["adit::tunnel"], ["adit::tunnel"; 2]);
        assert_eq!(shown(None), we);
        assert_eq!(shown(Some("")), we);
        assert_eq!(shown(Some("warn")), we);
        assert_eq!(shown(Some("adit=loud")), we);
        assert_eq!(shown(Some("debug")), all);
        assert_eq!(shown(Some("off")), [""; 0]);
        assert_eq!(shown(Some("info,h2=warn")), ["h2::proto::streams", "adit::tunnel"]);
    }

    struct Seen(Arc<Mutex<Vec<&'static str>>>);

    impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Seen {
        fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
            self.0.lock().unwrap().push(event.metadata().target());
        }
    }

    #[test]
    fn a_failure_says_what_happened_and_what_to_do() {
        let failed = Failure::failed("the UDP port 51820 is taken").hint("choose another ListenPort in home.conf");
        assert_eq!(
            failure_text(&failed, Style::Plain),
            "error: the UDP port 51820 is taken\n  hint: choose another ListenPort in home.conf"
        );
    }
}
