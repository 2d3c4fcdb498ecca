//! Texts that may be configurations of OpenVPN, or what a server pushes.

use adit_openvpn::options::{
    self, Finding, MAX_DIRECTIVES, MAX_LINE, MAX_LIST, MAX_PUSHED, MAX_REMOTES, MAX_TEXT, Pulling, Pushed, SecretText,
    Verdict,
};

/// One text, read as everything that it could be.
pub fn openvpn_options(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let parsed = options::parse(&text);
    assert_eq!(parsed.config.is_none(), parsed.findings.iter().any(Finding::is_refused));
    assert!(parsed.findings.len() <= 2 * MAX_DIRECTIVES + 16);
    let lines = text.lines().count();
    for finding in &parsed.findings {
        assert!(finding.line <= lines, "{finding:?}");
        assert!(!finding.to_string().chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')), "{finding:?}");
    }
    match &parsed.config {
        Some(options::Config::Client(client)) => {
            assert!((1..=MAX_REMOTES).contains(&client.remotes.len()));
            assert!(client.common.inside.routes.len() <= MAX_LIST);
        }
        Some(options::Config::Server(server)) => assert!(server.server.push.len() <= MAX_LIST),
        None => {}
    }
    written_again(&text);
    pushed(&text);
    drop(options::parse_client_entry(&text));
    drop((options::is_likely(&text), options::holds_secret(&text)));
}

/// What is written says the same when it is read again, and a text without files needs none.
fn written_again(text: &str) {
    let Ok(first) = options::directives(text) else { return };
    let again: String = first.iter().map(|directive| format!("{directive}\n")).collect();
    // Quotes and escapes may make a line longer than lines may be.
    if again.lines().any(|line| line.len() > MAX_LINE) || again.len() > MAX_TEXT {
        return;
    }
    let second = options::directives(&again).expect("what is written can be read");
    assert_eq!(first.len(), second.len());
    for (one, other) in first.iter().zip(&second) {
        let words = |d: &options::Directive| d.words.iter().map(|word| word.text.clone()).collect::<Vec<_>>();
        assert_eq!(words(one), words(other));
    }
    let whole = options::embed(text, |_| Some(SecretText::new("content".to_owned()))).expect("no block ends early");
    assert!(options::needs(whole.expose()).is_empty());
}

fn pushed(text: &str) {
    let Ok(pushed) = Pushed::read(text.split([',', '\n']), &Pulling::default()) else { return };
    assert!(pushed.findings.len() <= MAX_PUSHED + 1);
    assert!(pushed.inside.routes.len() <= MAX_LIST);
    assert!(
        pushed.findings.iter().all(|f| !matches!(f.verdict, Verdict::Refused { .. })),
        "a server ends no client by a word"
    );
}
