//! What is logged above `debug` on the thread of a test, by whom, and how much of it the program would show.
//!
//! Each test has a thread of its own, and the runtime of the test with its server is on it.

use std::cell::RefCell;
use std::fmt::Debug;
use std::sync::Once;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use crate::log::SILENT;

/// Lines as `target: message`.
#[derive(Debug, Default, Clone)]
pub(super) struct Heard {
    /// Of our own crates.
    pub(super) ours: Vec<String>,
    /// Of any crate.
    pub(super) all: Vec<String>,
    /// What passes the program's filter.
    pub(super) shown: Vec<String>,
}

thread_local! {
    static HEARD: RefCell<Heard> = RefCell::default();
}

/// From now on everything is noted.
pub(super) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let program = Note(|heard| &mut heard.shown).with_filter(EnvFilter::new(format!("{SILENT},info")));
        let all = tracing_subscriber::registry().with(Note(|heard| &mut heard.all)).with(program);
        tracing::subscriber::set_global_default(all).unwrap();
    });
}

/// What was said on this thread so far.
pub(super) fn heard() -> Heard {
    let mut heard = HEARD.with_borrow(Clone::clone);
    heard.ours = heard.all.iter().filter(|line| line.starts_with("adit")).cloned().collect();
    heard
}

/// Notes in one of the lists.
struct Note(fn(&mut Heard) -> &mut Vec<String>);

impl<S: Subscriber> Layer<S> for Note {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() >= Level::DEBUG {
            return;
        }
        let mut words = Words(format!("{}:", event.metadata().target()));
        event.record(&mut words);
        HEARD.with_borrow_mut(|heard| (self.0)(heard).push(words.0));
    }
}

struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        use std::fmt::Write as _;
        write!(self.0, " {field}={value:?}").unwrap();
    }
}
